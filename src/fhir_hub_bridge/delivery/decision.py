"""What follows from a partner's answer: told, wait for the receipt, try again, or call a person.

Pure. No outcome gives up: a notice ends by proof, or by a named person who withholds it.
Before it: `connectors` answer. After it: `dispatch` records the decision in `store.outbox`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, assert_never
from zlib import crc32

from fhir_hub_bridge.connectors.interface import (
    Accepted,
    Answer,
    Received,
    Refused,
    Sent,
    Unavailable,
    Unsendable,
)

SECOND_TRY: Final = timedelta(minutes=5)  # after a first refusal
RETRY_AFTER_AT_MOST: Final = timedelta(hours=1)
RECEIPT_WITHIN: Final = timedelta(hours=24)
_JITTER: Final = 0.1  # of the pause, added


@dataclass(frozen=True, slots=True)
class Standing:
    """How a notice stands before the answer is judged. Instants are aware."""

    notice_id: str
    due_at: datetime
    attempts: int = 0  # recorded before this one
    refusals: int = 0  # definite ones among them
    sent_at: datetime | None = None  # first known to have gone out
    escalated: bool = False


@dataclass(frozen=True, slots=True)
class Confirmed:
    """They are told, by the proof that their agreement names."""


@dataclass(frozen=True, slots=True)
class AwaitReceipt:
    """It is with them; look again at `check_at` unless their receipt comes first."""

    check_at: datetime


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Send the same bytes again at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Escalate:
    """A named person must know, and why; attempts go on at `retry_at`."""

    why: str
    retry_at: datetime


Decision: TypeAlias = Confirmed | AwaitReceipt | RetryAt | Escalate


def decide(
    answer: Answer,
    standing: Standing,
    *,
    proof: Literal["2xx", "acknowledgement"],
    schedule: Sequence[timedelta],
    now: datetime,
) -> Decision:
    """What follows from this answer.

    1. Told: an acknowledgement always, an accepting server where the agreement says 2xx.
    2. With them but not proven: wait for the receipt, escalate after RECEIPT_WITHIN or when due.
    3. No definite answer: the next pause of `schedule` (its last repeats for ever), stretched to
       what they ask in Retry-After, up to an hour; escalated when that is past the due moment.
    4. Refused: once more after SECOND_TRY, then escalated and on at the slowest pause.
    5. Not sendable at all: escalated at once.

    An escalated notice is tried at the slowest pause, whatever the answer. `schedule` has at least
    one pause and never shrinks. `now` is aware.
    """
    match answer:
        case Received():
            return Confirmed()
        case Accepted() if proof == "2xx":
            return Confirmed()
        case Accepted() | Sent():
            return _await_receipt(standing, now=now)
        case Unavailable():
            pause = _pause(standing, schedule)
            if answer.retry_after is not None:
                pause = max(pause, min(answer.retry_after, RETRY_AFTER_AT_MOST))
            return _try_again(standing, now + pause, why=answer.detail)
        case Refused():
            if standing.refusals or standing.escalated:
                return _escalate(standing, answer.detail, schedule=schedule, now=now)
            return _try_again(standing, now + SECOND_TRY, why=answer.detail)
        case Unsendable():
            return _escalate(standing, answer.detail, schedule=schedule, now=now)
        case _:
            assert_never(answer)


def _await_receipt(standing: Standing, *, now: datetime) -> Decision:
    if standing.escalated:
        return AwaitReceipt(now + RECEIPT_WITHIN)
    late_at = (standing.sent_at or now) + RECEIPT_WITHIN
    if standing.sent_at is not None and now >= min(late_at, standing.due_at):
        return Escalate("no acknowledgement came", now + RECEIPT_WITHIN)
    return AwaitReceipt(min(late_at, standing.due_at) if standing.due_at > now else late_at)


def _try_again(standing: Standing, at: datetime, *, why: str) -> Decision:
    if not standing.escalated and at >= standing.due_at:
        return Escalate(f"not confirmed by its due moment: {why}", at)
    return RetryAt(at)


def _escalate(
    standing: Standing, why: str, *, schedule: Sequence[timedelta], now: datetime
) -> Decision:
    at = now + _spread(schedule[-1], standing.notice_id)
    return RetryAt(at) if standing.escalated else Escalate(why, at)


def _pause(standing: Standing, schedule: Sequence[timedelta]) -> timedelta:
    step = len(schedule) - 1 if standing.escalated else min(standing.attempts, len(schedule) - 1)
    return _spread(schedule[step], standing.notice_id)


def _spread(pause: timedelta, notice_id: str) -> timedelta:
    # The same share of every pause, so that pauses never shrink and no run differs from another.
    return pause + pause * (_JITTER * crc32(notice_id.encode()) / 0xFFFFFFFF)
