"""What the console's pages ask of the store: how much is open, what is most urgent, one story.

Reads only, for `read_snapshot`. A loop stays on the list until it is closed and whoever must be
told has been told. After: `web`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, and_, case, func, literal_column, or_, select

from fhir_hub_bridge.referral.model import Event, Referral
from fhir_hub_bridge.referral.parties import Partner
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import from_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.notice_records import (
    NoticeCounts,
    NoticeRecord,
    attempts_of,
    count_notices,
    notices_of,
)
from fhir_hub_bridge.store.notice_rows import COPY, Attempt
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.referrals import StoredReferral, events_of, load
from fhir_hub_bridge.store.remote_copies import Trouble, troubles_of
from fhir_hub_bridge.store.resources import Stored
from fhir_hub_bridge.store.tables import (
    notice,
    referral,
    referral_event,
    resource,
    resource_version,
)

_REFERRAL: TypeAdapter[Referral] = TypeAdapter(Referral)
_FAR: Final = 2**62  # sorts after every instant: nothing is due
# The state as the partial index has it; a provider's copy is nobody's notice.
_PENDING: Final = and_(notice.c.state == literal_column("'pending'"), notice.c.type != COPY)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """A referral not closed, or closed with somebody still to be told. Instants are UTC."""

    referral: Referral
    held: str
    due_at: datetime | None  # of the earliest pending notice
    due_type: str
    escalated_to: str  # who was given a notice of it, or ""


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page: the counts, and the most urgent loops of `listed` that are on the list."""

    loops_open: int
    loops_closed: int
    listed: int
    notices: NoticeCounts
    copies: NoticeCounts  # of referrals for providers; no notices
    loops: tuple[OpenLoop, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one referral."""

    stored: StoredReferral
    events: tuple[Event, ...]
    not_owed: Mapping[int, Mapping[str, str]]  # event number -> notice type -> rule
    tasks: tuple[Stored, ...]  # every version of every Task, oldest first
    notices: tuple[NoticeRecord, ...]
    copies: tuple[NoticeRecord, ...]  # of the referral for its providers
    attempts: Mapping[str, list[Attempt]]  # by the id of the notice or copy
    partners: tuple[Partner, ...]
    troubles: tuple[Trouble, ...] = ()  # with what partners' servers say


def overview(conn: Connection, *, now: datetime, limit: int) -> Overview:
    """The counts, and at most `limit` loops; `now` is aware and judges what is late."""
    closed = referral.c.closed
    rows = conn.execute(select(closed, func.count()).group_by(closed))
    by_closed = {row[0]: row[1] for row in rows}
    untold = (
        select(func.count(func.distinct(referral.c.id)))
        .join(notice, _of_referral())
        .where(closed.is_(True), _PENDING)
    )
    return Overview(
        loops_open=by_closed.get(False, 0),
        loops_closed=by_closed.get(True, 0),
        listed=by_closed.get(False, 0) + conn.execute(untold).scalar_one(),
        notices=count_notices(conn, now=now),
        copies=count_notices(conn, now=now, copies=True),
        loops=_most_urgent(conn, limit=limit),
    )


def story(conn: Connection, referral_id: str) -> Story:
    """One referral with all that happened. Raises Unknown."""
    stored = load(conn, referral_id)
    notices = notices_of(conn, referral_id)
    copies = notices_of(conn, referral_id, copies=True)
    return Story(
        stored=stored,
        events=events_of(conn, referral_id),
        not_owed=_not_owed(conn, referral_id),
        tasks=_task_versions(conn, referral_id),
        notices=tuple(notices),
        copies=tuple(copies),
        attempts=attempts_of(conn, [found.id for found in (*notices, *copies)]),
        partners=all_partners(conn),
        troubles=tuple(troubles_of(conn, referral_id)),
    )


def _of_referral() -> Any:
    return (notice.c.bucket == referral.c.bucket) & (notice.c.referral_id == referral.c.id)


def _most_urgent(conn: Connection, *, limit: int) -> tuple[OpenLoop, ...]:
    """Escalated ones first, then by what is due next, then the oldest."""
    waiting = (
        select(
            notice.c.bucket,
            notice.c.referral_id,
            func.min(notice.c.due_at).label("due_at"),
            func.max(notice.c.escalated_to).label("escalated_to"),
        )
        .where(_PENDING)
        .group_by(notice.c.bucket, notice.c.referral_id)
        .subquery()
    )
    escalated_to = func.coalesce(waiting.c.escalated_to, "")
    query = (
        select(
            referral.c.bucket,
            referral.c.id,
            referral.c.state,
            referral.c.held,
            waiting.c.due_at,
            escalated_to.label("escalated_to"),
        )
        .outerjoin(
            waiting,
            (waiting.c.bucket == referral.c.bucket) & (waiting.c.referral_id == referral.c.id),
        )
        .where(or_(referral.c.closed.is_(False), waiting.c.due_at.is_not(None)))
        .order_by(
            case((escalated_to != "", 0), else_=1),
            func.coalesce(waiting.c.due_at, _FAR),
            referral.c.received_at,
            referral.c.id,
        )
        .limit(limit)
    )
    rows = conn.execute(query).all()
    due = _next_due(conn, [(row.bucket, row.id) for row in rows])
    return tuple(_open_loop(row, due.get(row.id, "")) for row in rows)


def _next_due(conn: Connection, referrals: list[tuple[int, str]]) -> dict[str, str]:
    """The type of the earliest pending notice of each of these referrals."""
    query = (
        select(notice.c.referral_id, notice.c.type)
        .where(among([notice.c.bucket, notice.c.referral_id], referrals), _PENDING)
        .order_by(notice.c.due_at.desc(), notice.c.lane.desc())
    )
    # Of several rows of one referral the last, which is the earliest, stays.
    return {row[0]: row[1] for row in conn.execute(query)}


def _open_loop(row: Row[*tuple[Any, ...]], due_type: str) -> OpenLoop:
    return OpenLoop(
        referral=_REFERRAL.validate_json(row.state),
        held=row.held,
        due_at=None if row.due_at is None else from_micros(row.due_at),
        due_type=due_type,
        escalated_to=row.escalated_to,
    )


def _not_owed(conn: Connection, referral_id: str) -> dict[int, dict[str, str]]:
    query = select(referral_event.c.number, referral_event.c.not_owed).where(
        referral_event.c.bucket == bucket_of("Referral", referral_id),
        referral_event.c.referral_id == referral_id,
    )
    return {row[0]: orjson.loads(row[1]) for row in conn.execute(query)}


def _task_versions(conn: Connection, referral_id: str) -> tuple[Stored, ...]:
    v = resource_version.c
    query = (
        select(v.type, v.id, v.version, v.last_updated, v.body, v.method)
        .join(
            resource,
            (resource.c.bucket == v.bucket) & (resource.c.type == v.type) & (resource.c.id == v.id),
        )
        .where(
            resource.c.bucket == bucket_of("Referral", referral_id),
            resource.c.referral_id == referral_id,
            resource.c.type == "Task",
        )
        .order_by(v.last_updated, v.id, v.version)
    )
    return tuple(
        Stored(
            type=row.type,
            id=row.id,
            version=row.version,
            last_updated=from_micros(row.last_updated),
            body=bytes(row.body),
            method=row.method,
            referral_id=referral_id,
        )
        for row in conn.execute(query)
    )
