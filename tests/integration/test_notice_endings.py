"""How a notice ends by a receipt or by a person, and how all of them are counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.notice_builders import NOW, Owed, a_lane, store_owed, told

from fhir_hub_bridge.errors import Unknown
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.notice_endings import (
    Acknowledgement,
    escalate,
    escalate_past_due,
    record_acknowledgement,
    withhold,
)
from fhir_hub_bridge.store.notice_records import (
    Awaited,
    NoticeCounts,
    NoticeRecord,
    attempts_of,
    awaiting_acknowledgement,
    count_notices,
    notices_of,
)
from fhir_hub_bridge.store.notice_rows import Attempt, Escalation
from fhir_hub_bridge.store.outbox import claim, record
from fhir_hub_bridge.store.resources import read
from fhir_hub_bridge.store.transaction import Store

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def sent(store: Store, *, outcome: str = "sent", next_in: timedelta | None = DAY) -> None:
    for one in await store.write(claim, now=NOW, lease=HOUR, limit=50):
        await store.write(
            record,
            one,
            Attempt(NOW, NOW, outcome, ""),
            next_attempt_at=None if next_in is None else NOW + next_in,
            told=told,
        )


async def acknowledged(
    store: Store, one: Owed, *, sha256: str = "", after: timedelta = HOUR
) -> Any:
    return await store.write(
        record_acknowledgement,
        notice_id=one.id,
        sha256=sha256 or one.sha256.upper(),
        received_at=NOW + after,
        now=NOW + after,
        told=told,
    )


async def stands(store: Store, one: Owed) -> NoticeRecord:
    found = await store.read(notices_of, one.referral_id)
    return next(n for n in found if n.id == one.id)


async def outcomes(store: Store, one: Owed) -> list[str]:
    found = await store.read(attempts_of, [one.id])
    return [a.outcome for a in found.get(one.id, [])]


async def communication(store: Store, one: Owed) -> dict[str, Any]:
    return (await store.read(read, "Communication", one.communication_id)).parsed()


async def duty(store: Store, one: Owed) -> Any:
    based_on = (await communication(store, one))["basedOn"][1]["reference"]
    return (await store.read(read, *based_on.split("/"))).parsed()["status"]


async def test_an_acknowledgement_confirms_and_lets_the_lane_go_on(store: Store) -> None:
    lane = a_lane("a", notices=2, method="file-drop")
    await store.write(store_owed, lane)
    await sent(store)

    became = await acknowledged(store, lane[0])

    after = await stands(store, lane[0])
    kept = await communication(store, lane[0])
    (following,) = await store.write(claim, now=NOW + HOUR, lease=HOUR, limit=5)
    assert became is Acknowledgement.CONFIRMED
    assert (after.state, after.received_at, after.confirmed_at) == (
        "confirmed",
        NOW + HOUR,
        NOW + HOUR,
    )
    assert (kept["status"], kept["received"]) == ("completed", "2026-11-23T19:00:00.000Z")
    assert (await duty(store, lane[0]), await duty(store, lane[1])) == ("completed", "active")
    assert await outcomes(store, lane[0]) == ["sent", "received"]
    assert following.id == lane[1].id


async def test_an_acknowledgement_of_other_bytes_changes_nothing(store: Store) -> None:
    (one,) = a_lane("a", method="file-drop")
    await store.write(store_owed, [one])
    await sent(store)

    became = await acknowledged(store, one, sha256="0" * 64)

    assert became is Acknowledgement.OTHER_CONTENT
    assert (await stands(store, one)).state == "pending"
    assert await outcomes(store, one) == ["sent"]


async def test_an_acknowledgement_after_a_2xx_is_kept_as_further_proof_once(
    store: Store,
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    await sent(store, outcome="accepted", next_in=None)

    became = [await acknowledged(store, one, after=n * HOUR) for n in (1, 2)]

    after = await stands(store, one)
    assert became == [Acknowledgement.ALREADY_ENDED, Acknowledgement.ALREADY_ENDED]
    assert (after.confirmed_at, after.received_at) == (NOW, NOW + HOUR)
    assert (await communication(store, one))["received"] == "2026-11-23T19:00:00.000Z"
    assert await outcomes(store, one) == ["accepted", "received"]


async def test_an_acknowledgement_ends_the_claim_of_a_worker_that_sends_again(
    store: Store,
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    (claimed,) = await store.write(claim, now=NOW, lease=HOUR, limit=1)
    await acknowledged(store, one)

    refused = Attempt(NOW, NOW + HOUR, "refused", "HTTP 410", 410)
    kept = await store.write(record, claimed, refused, next_attempt_at=NOW + DAY, told=told)

    assert not kept
    assert (await stands(store, one)).state == "confirmed"
    assert await outcomes(store, one) == ["received", "lease-lost"]


async def test_an_acknowledgement_of_no_notice_is_unknown(store: Store) -> None:
    (one,) = a_lane("never stored")

    with pytest.raises(Unknown):
        await acknowledged(store, one)


async def test_a_person_withholds_a_notice_and_its_lane_goes_on(store: Store) -> None:
    lane = a_lane("a", notices=2)
    await store.write(store_owed, lane)
    await sent(store, outcome="refused")

    ended = [
        await store.write(
            withhold, lane[0].id, rule="member-asked", by="J. Doe", now=NOW + HOUR, told=told
        )
        for _ in range(2)
    ]

    after = await stands(store, lane[0])
    attempts = (await store.read(attempts_of, [lane[0].id]))[lane[0].id]
    (following,) = await store.write(claim, now=NOW + HOUR, lease=HOUR, limit=5)
    assert ended == [True, False]
    assert (after.state, after.rule) == ("withheld", "member-asked")
    assert (attempts[-1].outcome, attempts[-1].detail) == (
        "withheld",
        "by J. Doe, rule member-asked",
    )
    assert (await communication(store, lane[0]))["status"] == "not-done"
    assert await duty(store, lane[0]) == "revoked"
    assert following.id == lane[1].id


async def test_a_receipt_of_a_withheld_notice_is_kept_and_leaves_it_withheld(
    store: Store,
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    await store.write(withhold, one.id, rule="r", by="J. Doe", now=NOW, told=told)

    became = await acknowledged(store, one)

    after = await stands(store, one)
    assert became is Acknowledgement.ALREADY_ENDED
    assert (after.state, after.received_at) == ("withheld", NOW + HOUR)
    assert (await communication(store, one))["status"] == "not-done"


async def test_only_a_pending_notice_is_escalated_and_only_once(store: Store) -> None:
    pending, ended = a_lane("a")[0], a_lane("b", state="confirmed")[0]
    await store.write(store_owed, [pending, ended])

    marked = [
        await store.write(
            escalate, notice_id=one.id, escalation=Escalation(to="J. Doe", why=why), now=NOW
        )
        for one, why in ((pending, "first"), (pending, "second"), (ended, "never"))
    ]

    after = await stands(store, pending)
    assert marked == [True, False, False]
    assert (after.escalated_to, after.escalated_why) == ("J. Doe", "first")


async def test_what_lies_with_its_recipient_is_under_way_and_says_since_when(
    store: Store,
) -> None:
    (one,) = a_lane("a", method="file-drop")
    await store.write(store_owed, [one])
    await sent(store)

    kept = await communication(store, one)

    assert (kept["status"], kept["sent"]) == ("in-progress", "2026-11-23T18:00:00.000Z")
    assert await duty(store, one) == "active"


async def test_a_confirmed_notice_fulfils_its_duty(store: Store) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])

    await sent(store, outcome="accepted", next_in=None)

    assert (await communication(store, one))["status"] == "completed"
    assert await duty(store, one) == "completed"


async def test_every_notice_past_due_gets_a_person_with_the_reason_there_is(
    store: Store,
) -> None:
    lane, later = a_lane("a", notices=2, due_in=DAY), a_lane("b", due_in=3 * DAY)
    ended = a_lane("c", due_in=DAY, state="confirmed")
    await store.write(store_owed, lane)
    (claimed,) = await store.write(claim, now=NOW, lease=HOUR, limit=1)
    await store.write(store_owed, [*later, *ended])
    silent = Attempt(NOW, NOW, "unavailable", "no answer")
    await store.write(record, claimed, silent, next_attempt_at=NOW + 9 * DAY, told=told)

    marked = [
        await store.write(escalate_past_due, to="J. Doe", now=NOW + moment, limit=50)
        for moment in (DAY, DAY + HOUR, DAY + HOUR)
    ]

    stood = [await stands(store, one) for one in (*lane, *later, *ended)]
    assert marked == [0, 2, 0]
    assert [n.escalated_why for n in stood] == ["past-due: no answer", "past-due", "", ""]
    assert [n.escalated_to for n in stood[:2]] == ["J. Doe", "J. Doe"]
    assert [n.escalated_at for n in stood[:2]] == [NOW + DAY + HOUR] * 2


async def test_every_notice_owed_is_counted_as_confirmed_withheld_or_pending(
    store: Store,
) -> None:
    due = NOW + DAY
    await store.write(
        store_owed,
        [
            *a_lane("a", due_in=DAY, state="confirmed", confirmed_at=to_micros(due)),
            *a_lane("b", due_in=DAY, state="confirmed", confirmed_at=to_micros(due + HOUR)),
            *a_lane("c", due_in=DAY, state="withheld", confirmed_at=None),
            *a_lane("d", due_in=DAY, confirmed_at=None),
            *a_lane("e", due_in=3 * DAY, escalated_at=to_micros(NOW), confirmed_at=None),
        ],
    )

    before, after = [
        await store.read(count_notices, now=due + moment) for moment in (timedelta(0), HOUR)
    ]

    assert before == NoticeCounts(owed=5, confirmed=2, withheld=1, pending=2, escalated=1, late=1)
    assert after == NoticeCounts(owed=5, confirmed=2, withheld=1, pending=2, escalated=1, late=2)


async def test_an_empty_store_owes_nothing(store: Store) -> None:
    assert await store.read(count_notices, now=NOW) == NoticeCounts(0, 0, 0, 0, 0, 0)


async def test_a_notice_knows_whether_it_is_late(store: Store) -> None:
    confirmed = a_lane("a", due_in=DAY, state="confirmed", confirmed_at=to_micros(NOW + 2 * DAY))
    withheld = a_lane("b", due_in=DAY, state="withheld")
    pending = a_lane("c", due_in=DAY)
    await store.write(store_owed, confirmed)
    await store.write(store_owed, [*withheld, *pending])

    stood = [await stands(store, one) for one in (*confirmed, *withheld, *pending)]

    assert [one.is_late(NOW) for one in stood] == [True, False, False]
    assert [one.is_late(NOW + 2 * DAY) for one in stood] == [True, False, True]


async def test_only_what_lies_with_its_recipient_is_awaited(store: Store) -> None:
    dropped, pushed = a_lane("a", method="file-drop"), a_lane("b")
    await store.write(store_owed, [*dropped, *pushed])
    await sent(store)
    await store.write(store_owed, a_lane("c", method="file-drop"))

    awaited = await store.read(awaiting_acknowledgement, method="file-drop")

    assert awaited == [Awaited(dropped[0].id, "ehr", dropped[0].sha256)]
