"""A notice's row and its attempts: what the changes in `outbox` and `notice_endings` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Update,
    and_,
    bindparam,
    case,
    func,
    select,
    update,
)

from fhir_hub_bridge.errors import Unknown
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import from_micros, to_micros
from fhir_hub_bridge.store.resources import NewVersion, Stored, find, save, unstamped
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import notice, notice_attempt

COPY: Final = "referral-copy"
"""The type of a row that is no notice: a provider's copy of a referral, owed by no law of notices
but delivered like one (docs/decisions/0012)."""

CHANGED: Final = (
    notice.c.bucket,
    notice.c.id,
    notice.c.referral_id,
    notice.c.recipient,
    notice.c.lane,
    notice.c.state,
    notice.c.attempts,
    notice.c.communication_id,
    notice.c.sent_at,
    notice.c.received_at,
)

# Statements of the hot path are built once, with these parameters: building one with SQLAlchemy
# costs more than running it. `a_`: a parameter must not have a column's name.
IS_THIS: Final = and_(notice.c.bucket == bindparam("a_bucket"), notice.c.id == bindparam("a_id"))
_STARTED: Final = bindparam("a_started", type_=BigInteger)
_ENDED: Final = bindparam("a_ended", type_=BigInteger)

# How the duty to tell ends with the Communication that tells: its CommunicationRequest's status.
_DUTY_ENDS: Final[Mapping[str, str]] = {"completed": "completed", "not-done": "revoked"}

# What an outcome proves: sent, accepted and received are three facts, and each keeps the moment
# it was first known.
FACTS: Final[Mapping[str, Mapping[str, ColumnElement[int]]]] = {
    "accepted": {
        "sent_at": func.coalesce(notice.c.sent_at, _STARTED),
        "accepted_at": func.coalesce(notice.c.accepted_at, _ENDED),
    },
    "sent": {"sent_at": func.coalesce(notice.c.sent_at, _ENDED)},
    "received": {"received_at": func.coalesce(notice.c.received_at, _ENDED)},
}


class Told(Protocol):
    """Makes the stored Communication say what was proven (`mapping.communication_told`)."""

    def __call__(
        self,
        communication: Json,
        /,
        *,
        sent_at: datetime | None,
        received_at: datetime | None,
        status: str,
    ) -> Json:
        """The Communication's next version; `status` is a FHIR event status."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try and what came of it. `detail` is in our own words, never a member's data.

    `outcome`: accepted (their server said so), sent (it lies where they fetch it), received (they
    acknowledged it), unavailable, refused, unsendable; lease-lost and withheld are written here.
    """

    started_at: datetime
    ended_at: datetime
    outcome: str
    detail: str
    status: int | None = None  # of HTTP


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who is to look after a notice in trouble, and why."""

    to: str
    why: str


def update_of(bucket: int, notice_id: str) -> Update:
    """An UPDATE of this one notice that answers with the row as it then is."""
    this = and_(notice.c.bucket == bucket, notice.c.id == notice_id)
    return update(notice).where(this).returning(*CHANGED)


def changed(
    conn: Connection, statement: Update, parameters: Mapping[str, Any] | None = None
) -> RowMapping | None:
    """Run the UPDATE of one notice: the row as it now is, None where nothing matched."""
    return conn.execute(statement, parameters).mappings().first()


def lock_notice(conn: Connection, notice_id: str) -> RowMapping:
    """The notice, locked until the transaction ends. Raises Unknown."""
    query = select(notice.c.sha256, *CHANGED).where(
        notice.c.bucket == bucket_of("Notice", notice_id), notice.c.id == notice_id
    )
    row = conn.execute(query.with_for_update()).mappings().first()
    if row is None:
        raise Unknown("There is no notice with this id.")
    return row


def add_attempt(conn: Connection, row: RowMapping, attempt: Attempt) -> None:
    """Add to a notice's history; its number is the count of attempts the row now has."""
    values = {
        "bucket": row["bucket"],
        "notice_id": row["id"],
        "number": row["attempts"],
        "started_at": to_micros(attempt.started_at),
        "ended_at": to_micros(attempt.ended_at),
        "outcome": attempt.outcome,
        "status": attempt.status,
        "detail": attempt.detail,
    }
    insert_all(conn, [Batch(notice_attempt, [values])])


def move_followers(conn: Connection, row: RowMapping, *, at: datetime) -> None:
    """Make the rest of the lane due at `at`.

    Followers wait with the first notice, not in front of the queue where each claim would read
    past them for as long as their partner is down.
    """
    parameters = {
        "a_bucket": row["bucket"],
        "a_referral": row["referral_id"],
        "a_recipient": row["recipient"],
        "a_lane": row["lane"],
        "a_at": to_micros(at),
    }
    conn.execute(_MOVE, parameters)


_MOVE: Final = (
    update(notice)
    .where(
        notice.c.bucket == bindparam("a_bucket"),
        notice.c.referral_id == bindparam("a_referral"),
        notice.c.recipient == bindparam("a_recipient"),
        notice.c.lane > bindparam("a_lane"),
        notice.c.state == "pending",
    )
    .values(next_attempt_at=bindparam("a_at"))
)


def tell(conn: Connection, row: RowMapping, told: Told, *, status: str, at: datetime) -> None:
    """Amend the notice's Communication, where it has one; with its end its duty ends, too.

    Raises Unknown when it is not stored.
    """
    if not row["communication_id"]:
        return
    communication = find(conn, "Communication", row["communication_id"], lock=True)
    if communication is None:
        raise Unknown("There is no Communication with this id.")
    before = unstamped(communication.parsed())
    after = told(
        before,
        sent_at=instant(row["sent_at"]),
        received_at=instant(row["received_at"]),
        status=status,
    )
    amended = [(communication, before, after)]
    if status in _DUTY_ENDS and (request := _request_of(conn, before)) is not None:
        duty = unstamped(request.parsed())
        amended.append((request, duty, {**duty, "status": _DUTY_ENDS[status]}))
    save(conn, [_next(stored, now, at=at) for stored, was, now in amended if now != was])


def _request_of(conn: Connection, communication: Json) -> Stored | None:
    for reference in communication.get("basedOn", []):
        type_, _, id_ = reference["reference"].partition("/")
        if type_ == "CommunicationRequest":
            return find(conn, type_, id_, lock=True)
    return None


def _next(stored: Stored, resource: Json, *, at: datetime) -> NewVersion:
    return NewVersion(resource, stored.version + 1, at, stored.source, stored.referral_id)


def facts_parameters(attempt: Attempt) -> dict[str, int]:
    """The parameters that FACTS of this outcome takes."""
    match attempt.outcome:
        case "accepted":
            return {
                "a_started": to_micros(attempt.started_at),
                "a_ended": to_micros(attempt.ended_at),
            }
        case "sent" | "received":
            return {"a_ended": to_micros(attempt.ended_at)}
    return {}


def marks_of(escalation: Escalation, *, at: datetime) -> dict[str, Any]:
    """The columns of the mark; the first mark stays."""
    unmarked = notice.c.escalated_at.is_(None)
    return {
        "escalated_at": func.coalesce(notice.c.escalated_at, to_micros(at)),
        "escalated_to": case((unmarked, escalation.to), else_=notice.c.escalated_to),
        "escalated_why": case((unmarked, escalation.why), else_=notice.c.escalated_why),
    }


def instant(micros: int | None) -> datetime | None:
    """The instant of a column that may be empty."""
    return None if micros is None else from_micros(micros)
