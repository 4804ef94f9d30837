"""How it ended is compared with the script, name by name; every difference is a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fhir_hub_bridge.demo.ending import Stands, closed_as_expected, differences, should_close
from fhir_hub_bridge.store.notice_records import NoticeRecord

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def expected(**changes: Any) -> dict[str, Any]:
    return {
        "identifier": "R-1",
        "is_closed_loop": True,
        "expected_end": "services-received",
        "expected_notices": ["loop-closed"],
        "notices_end": "confirmed",
        **changes,
    }


def a_notice(state: str = "confirmed", *, escalated: bool = False) -> NoticeRecord:
    texts = ("recipient", "rule", "rulebook_row", "confidence", "method", "media_type", "sha256")
    times = ("sent_at", "accepted_at", "received_at", "confirmed_at")
    return NoticeRecord(
        id="N-1",
        referral_id="r",
        lane=1,
        type="loop-closed",
        event_number=1,
        state=state,
        owed_at=NOW,
        due_at=NOW,
        communication_id="c",
        attempts=0,
        next_attempt_at=NOW,
        escalated_at=NOW if escalated else None,
        escalated_to="",
        escalated_why="",
        **dict.fromkeys(texts, ""),
        **dict.fromkeys(times),
    )


def stood(closed_for: str = "services-received", *notices: NoticeRecord) -> dict[str, Stands]:
    return {"R-1": Stands(closed_for, tuple((n.type, n) for n in notices))}


def test_the_expected_end_is_no_difference() -> None:
    found = stood("services-received", a_notice())

    assert differences([expected()], found) == []
    assert closed_as_expected([expected()], found) == 1


def test_another_reason_another_notice_and_another_state_are_each_told() -> None:
    told = differences([expected()], stood("other", a_notice("pending"), a_notice()))

    assert len(told) == 3
    assert all(sentence.startswith("R-1") for sentence in told)
    assert closed_as_expected([expected()], stood("other")) == 0


def test_a_pending_notice_with_a_person_is_escalated() -> None:
    found = stood("services-received", a_notice("pending", escalated=True))

    assert differences([expected(notices_end="escalated")], found) == []


def test_an_open_end_is_expected_of_what_stays_open() -> None:
    open_one = expected(expected_end="open", expected_notices=[])

    assert differences([open_one], stood("")) == []
    assert not should_close(open_one)
    assert not should_close(expected(is_closed_loop=False))


def test_a_referral_that_was_not_taken_is_told() -> None:
    assert differences([expected()], {}) == ["R-1 was not taken."]
