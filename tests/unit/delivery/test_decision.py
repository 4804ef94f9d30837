from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.connectors.interface import (
    Accepted,
    Answer,
    Received,
    Refused,
    Sent,
    Unavailable,
    Unsendable,
)
from fhir_hub_bridge.delivery.decision import (
    RECEIPT_WITHIN,
    RETRY_AFTER_AT_MOST,
    SECOND_TRY,
    AwaitReceipt,
    Confirmed,
    Decision,
    Escalate,
    RetryAt,
    Standing,
    decide,
)

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
DUE = NOW + timedelta(days=10)
SCHEDULE = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800))
NO_ANSWER = Unavailable("no answer within 30 seconds")


def a_standing(
    *,
    attempts: int = 0,
    refusals: int = 0,
    sent_at: datetime | None = None,
    escalated: bool = False,
    due_at: datetime = DUE,
    notice_id: str = "n1",
) -> Standing:
    return Standing(notice_id, due_at, attempts, refusals, sent_at, escalated)


def judged(
    answer: Answer,
    standing: Standing | None = None,
    *,
    proof: str = "2xx",
    now: datetime = NOW,
) -> Decision:
    standing = standing or a_standing()
    assert proof in ("2xx", "acknowledgement")
    return decide(answer, standing, proof=proof, schedule=SCHEDULE, now=now)  # type: ignore[arg-type]


def pause_of(decision: Decision) -> timedelta:
    assert isinstance(decision, RetryAt)
    return decision.at - NOW


def test_accepting_server_confirms_where_the_agreement_says_2xx() -> None:
    assert judged(Accepted(201)) == Confirmed()


def test_accepting_server_is_no_receipt_where_the_agreement_asks_for_one() -> None:
    decision = judged(Accepted(200), proof="acknowledgement")

    assert decision == AwaitReceipt(NOW + RECEIPT_WITHIN)


@pytest.mark.parametrize("proof", ["2xx", "acknowledgement"])
def test_acknowledgement_confirms_whatever_the_agreement_asks(proof: str) -> None:
    assert judged(Received(), proof=proof) == Confirmed()


@pytest.mark.parametrize("proof", ["2xx", "acknowledgement"])
def test_a_file_left_in_a_folder_proves_nothing(proof: str) -> None:
    assert isinstance(judged(Sent(), proof=proof), AwaitReceipt)


def test_a_drop_is_looked_at_when_it_falls_due_before_a_day_is_over() -> None:
    soon = NOW + timedelta(hours=2)

    decision = judged(Sent(), a_standing(due_at=soon))

    assert decision == AwaitReceipt(soon)


def test_a_drop_without_receipt_after_a_day_is_escalated_and_looked_at_again() -> None:
    standing = a_standing(attempts=1, sent_at=NOW - RECEIPT_WITHIN)

    decision = judged(Sent(), standing, proof="acknowledgement")

    assert decision == Escalate("no acknowledgement came", NOW + RECEIPT_WITHIN)


def test_an_escalated_drop_is_not_escalated_again() -> None:
    standing = a_standing(attempts=5, sent_at=NOW - timedelta(days=4), escalated=True)

    assert judged(Sent(), standing) == AwaitReceipt(NOW + RECEIPT_WITHIN)


@pytest.mark.parametrize(("attempts", "step"), [(0, 5), (1, 30), (2, 120), (4, 1800), (500, 1800)])
def test_no_answer_is_tried_again_by_the_schedule_whose_last_pause_repeats(
    attempts: int, step: int
) -> None:
    pause = pause_of(judged(NO_ANSWER, a_standing(attempts=attempts)))

    assert timedelta(seconds=step) <= pause <= timedelta(seconds=step * 1.1)


def test_jitter_differs_between_notices_and_never_for_one() -> None:
    ids = [f"n{number}" for number in range(50)]

    pauses, again = [
        [pause_of(judged(NO_ANSWER, a_standing(notice_id=id_))) for id_ in ids] for _ in range(2)
    ]

    assert len(set(pauses)) > 40
    assert again == pauses


@pytest.mark.parametrize(
    ("wish", "low", "high"),
    [
        (timedelta(0), 5, 5.5),  # never sooner than the schedule
        (timedelta(minutes=2), 120, 120),
        (timedelta(days=3), 3600, 3600),  # never later than an hour
    ],
)
def test_retry_after_is_honoured_between_the_schedule_and_an_hour(
    wish: timedelta, low: float, high: float
) -> None:
    answer = Unavailable("HTTP 503", status=503, retry_after=wish)

    pause = pause_of(judged(answer)).total_seconds()

    assert low <= pause <= high


def test_no_answer_past_the_due_moment_is_escalated_and_tried_on() -> None:
    decision = judged(NO_ANSWER, a_standing(due_at=NOW + timedelta(seconds=1)))

    assert isinstance(decision, Escalate)
    assert decision.why == "not confirmed by its due moment: no answer within 30 seconds"
    assert decision.retry_at < NOW + timedelta(seconds=6)


def test_first_refusal_is_tried_once_more_after_five_minutes() -> None:
    decision = judged(Refused("HTTP 410", status=410), a_standing(attempts=7))

    assert decision == RetryAt(NOW + SECOND_TRY)


def test_second_refusal_is_escalated_and_tried_on_at_the_slowest_pause() -> None:
    decision = judged(Refused("HTTP 410", status=410), a_standing(attempts=2, refusals=1))

    assert isinstance(decision, Escalate)
    assert decision.why == "HTTP 410"
    assert decision.retry_at >= NOW + SCHEDULE[-1]


@pytest.mark.parametrize("answer", [NO_ANSWER, Refused("HTTP 400"), Unsendable("no agreement")])
def test_an_escalated_notice_is_tried_at_the_slowest_pause(answer: Answer) -> None:
    standing = a_standing(attempts=1, escalated=True, due_at=NOW - timedelta(days=1))

    assert pause_of(judged(answer, standing)) >= SCHEDULE[-1]


def test_an_escalated_notice_that_is_taken_at_last_is_confirmed() -> None:
    standing = a_standing(attempts=90, refusals=2, escalated=True)

    assert judged(Accepted(200), standing) == Confirmed()


def test_what_cannot_be_sent_is_escalated_at_once() -> None:
    decision = judged(Unsendable("the stored bytes do not match their hash"))

    assert isinstance(decision, Escalate)
    assert decision.why == "the stored bytes do not match their hash"


ANSWERS = st.one_of(
    st.builds(Accepted, st.sampled_from([200, 201, 204])),
    st.just(Sent()),
    st.just(Received()),
    st.builds(
        Unavailable,
        st.just("x"),
        status=st.sampled_from([None, 429, 500, 503]),
        retry_after=st.none() | st.timedeltas(timedelta(0), timedelta(days=400)),
    ),
    st.builds(Refused, st.just("x"), status=st.sampled_from([None, 301, 400, 410])),
    st.just(Unsendable("x")),
)
STANDINGS = st.builds(
    a_standing,
    attempts=st.integers(0, 10_000),
    refusals=st.integers(0, 3),
    sent_at=st.none() | st.integers(0, 300).map(lambda days: NOW - timedelta(days=days)),
    escalated=st.booleans(),
    due_at=st.integers(-9000, 9000).map(lambda hours: NOW + timedelta(hours=hours)),
    notice_id=st.text(max_size=20),
)
SCHEDULES = st.lists(
    st.timedeltas(timedelta(microseconds=1), timedelta(days=2)), min_size=1, max_size=12
).map(sorted)


@given(ANSWERS, STANDINGS, SCHEDULES, st.sampled_from(["2xx", "acknowledgement"]))
def test_a_notice_is_confirmed_by_proof_or_comes_round_again(
    answer: Answer, standing: Standing, schedule: list[timedelta], proof: str
) -> None:
    decision = decide(answer, standing, proof=proof, schedule=schedule, now=NOW)  # type: ignore[arg-type]

    proven = isinstance(answer, Received) or (isinstance(answer, Accepted) and proof == "2xx")
    match decision:
        case Confirmed():
            assert proven
        case AwaitReceipt(check_at=at) | RetryAt(at=at) | Escalate(retry_at=at):
            assert not proven
            longest = max(schedule[-1] * 1.1, RETRY_AFTER_AT_MOST, RECEIPT_WITHIN)
            assert at <= NOW + longest + timedelta(seconds=1)
            assert at > NOW or (isinstance(decision, AwaitReceipt) and not standing.escalated)
    if standing.escalated:
        assert not isinstance(decision, Escalate)


@given(SCHEDULES, st.text(max_size=20))
def test_pauses_never_shrink_from_one_attempt_to_the_next(
    schedule: list[timedelta], notice_id: str
) -> None:
    far = NOW + timedelta(days=4000)

    at = [
        decide(
            NO_ANSWER,
            a_standing(attempts=n, notice_id=notice_id, due_at=far),
            proof="2xx",
            schedule=schedule,
            now=NOW,
        )
        for n in range(len(schedule) + 3)
    ]

    assert all(pause_of(one) <= pause_of(next_) for one, next_ in pairwise(at))
