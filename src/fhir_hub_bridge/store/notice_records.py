"""Notices as people read them: how many stand where, and one referral's with every attempt.

Reads only; `outbox` and `notice_endings` write. After it: the console and the reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, or_, select

from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import from_micros, to_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.notice_rows import COPY, Attempt
from fhir_hub_bridge.store.tables import notice, notice_attempt


@dataclass(frozen=True, slots=True)
class NoticeCounts:
    """Always `owed == confirmed + withheld + pending`.

    `escalated` are the pending ones that a named person has. `late` were confirmed after their due
    moment or are pending past it.
    """

    owed: int
    confirmed: int
    withheld: int
    pending: int
    escalated: int
    late: int


@dataclass(frozen=True, slots=True)
class NoticeRecord:
    """A notice as it stands, without its bytes. Instants are aware, UTC."""

    id: str
    referral_id: str
    lane: int
    recipient: str
    type: str
    event_number: int
    state: str  # pending, confirmed or withheld
    rule: str
    rulebook_row: str
    confidence: str
    owed_at: datetime
    due_at: datetime
    method: str
    media_type: str
    sha256: str
    communication_id: str
    attempts: int
    next_attempt_at: datetime
    sent_at: datetime | None
    accepted_at: datetime | None
    received_at: datetime | None
    confirmed_at: datetime | None
    escalated_at: datetime | None
    escalated_to: str
    escalated_why: str

    def is_late(self, now: datetime) -> bool:
        """Whether it was confirmed after its due moment, or is pending past it."""
        if self.state == "withheld":
            return False
        return (self.confirmed_at or now) > self.due_at


@dataclass(frozen=True, slots=True)
class Awaited:
    """A notice that lies with its recipient and waits for the acknowledgement."""

    id: str
    recipient: str
    sha256: str


def count_notices(conn: Connection, *, now: datetime, copies: bool = False) -> NoticeCounts:
    """How many notices stand where, or copies for providers. Late is judged at `now`."""
    n = notice.c
    pending = n.state == "pending"
    late = or_(
        and_(n.state == "confirmed", n.confirmed_at > n.due_at),
        and_(pending, n.due_at < to_micros(now)),
    )
    row = conn.execute(
        select(
            func.count(),
            func.count().filter(n.state == "confirmed"),
            func.count().filter(n.state == "withheld"),
            func.count().filter(pending),
            func.count().filter(and_(pending, n.escalated_at.is_not(None))),
            func.count().filter(late),
        )
        .select_from(notice)
        .where(n.type == COPY if copies else n.type != COPY)
    ).one()
    return NoticeCounts(*row)


def notices_of(conn: Connection, referral_id: str, *, copies: bool = False) -> list[NoticeRecord]:
    """The notices that one referral owed, or its copies for providers, in the order they go out."""
    query = (
        select(*_RECORD)
        .where(
            notice.c.bucket == bucket_of("Referral", referral_id),
            notice.c.referral_id == referral_id,
            notice.c.type == COPY if copies else notice.c.type != COPY,
        )
        .order_by(notice.c.lane)
    )
    return [_record(row) for row in conn.execute(query).mappings()]


def attempts_of(conn: Connection, notice_ids: Collection[str]) -> dict[str, list[Attempt]]:
    """Every attempt of these notices, oldest first; a notice never tried is not in it."""
    if not notice_ids:
        return {}
    a = notice_attempt.c
    keys = [(bucket_of("Notice", id_), id_) for id_ in sorted(notice_ids)]
    query = (
        select(notice_attempt)
        .where(among([a.bucket, a.notice_id], keys))
        .order_by(a.bucket, a.notice_id, a.number)
    )
    found: dict[str, list[Attempt]] = defaultdict(list)
    for row in conn.execute(query).mappings():
        found[row["notice_id"]].append(
            Attempt(
                started_at=from_micros(row["started_at"]),
                ended_at=from_micros(row["ended_at"]),
                outcome=row["outcome"],
                detail=row["detail"],
                status=row["status"],
            )
        )
    return dict(found)


def awaiting_acknowledgement(conn: Connection, *, method: str) -> list[Awaited]:
    """The pending notices of this method that have gone out."""
    n = notice.c
    query = (
        select(n.id, n.recipient, n.sha256)
        .where(n.state == "pending", n.method == method, n.sent_at.is_not(None))
        .order_by(n.sent_at, n.id)
    )
    return [Awaited(*row) for row in conn.execute(query)]


_INSTANTS = frozenset(c.name for c in notice.c if c.name.endswith("_at"))
_RECORD = tuple(notice.c[name] for name in NoticeRecord.__dataclass_fields__)


def _record(row: RowMapping) -> NoticeRecord:
    values: dict[str, Any] = {
        name: from_micros(value) if name in _INSTANTS and value is not None else value
        for name, value in row.items()
    }
    return NoticeRecord(**values)
