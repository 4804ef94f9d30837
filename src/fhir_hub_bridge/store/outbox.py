"""Notices owed: claimed under a lease, recorded under its fencing token.

A lane is (referral, recipient): only its first pending notice is ever claimed, so each party is
told every state in order; a notice that no agreement carries waits for a person and holds up
nobody. The lease is judged by the clock passed in; the token keeps a worker
that woke too late from recording. Before it: `intake` inserts the rows. After it:
`delivery.dispatch`. What others do to a notice is in `notice_endings`, reads in `notice_records`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    RowMapping,
    Update,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    update,
)

from fhir_hub_bridge.faults import fault
from fhir_hub_bridge.store.instants import from_micros, to_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.notice_rows import (
    CHANGED,
    FACTS,
    IS_THIS,
    Attempt,
    Escalation,
    Told,
    add_attempt,
    changed,
    facts_parameters,
    instant,
    marks_of,
    move_followers,
    tell,
    update_of,
)
from fhir_hub_bridge.store.tables import notice, notice_attempt


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that a worker holds until `lease_until`, under `token`. Instants are aware."""

    bucket: int
    id: str
    referral_id: str
    lane: int
    recipient: str
    type: str
    method: str
    message: bytes = field(repr=False)  # speaks of a member
    media_type: str
    sha256: str
    communication_id: str
    due_at: datetime
    attempts: int  # recorded so far
    refusals: int  # definite ones among them
    sent_at: datetime | None
    escalated: bool
    token: int
    lease_until: datetime


def claim(
    conn: Connection,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    passing_over: Collection[str] = (),
) -> list[Claimed]:
    """Take up to `limit` due notices, each the first pending one of its lane, oldest due first.

    A notice leased to another is passed over until its lease has run out at `now`. Recipients in
    `passing_over` are left alone. A notice without a method waits for a person.
    """
    if limit <= 0:
        return []
    due = _due(to_micros(now), limit, passing_over)
    found = conn.execute(
        update(notice)
        .where(tuple_(notice.c.bucket, notice.c.id).in_(select(due.c.bucket, due.c.id)))
        .values(token=notice.c.token + 1, lease_until=to_micros(now + lease))
        .returning(*_CLAIMED)
    ).mappings()
    rows = sorted(found, key=lambda row: (row["next_attempt_at"], row["bucket"], row["id"]))
    refusals = _refusals(conn, [row for row in rows if row["attempts"]])
    return [_claimed(row, refusals[row["bucket"], row["id"]]) for row in rows]


def record(
    conn: Connection,
    claimed: Claimed,
    attempt: Attempt,
    *,
    next_attempt_at: datetime | None,
    told: Told,
    escalation: Escalation | None = None,
) -> bool:
    """Record an attempt and what follows: confirmed when `next_attempt_at` is None, else due then.

    False when the lease was lost: the attempt is kept as lease-lost and the notice stays as its
    new owner has it. The same attempt again (after an unknown COMMIT) changes nothing. The whole
    lane waits with its first notice, and goes on when that is confirmed.
    """
    parameters: dict[str, Any] = {
        "a_bucket": claimed.bucket,
        "a_id": claimed.id,
        "a_token": claimed.token,
        **facts_parameters(attempt),
    }
    if next_attempt_at is None:
        parameters["a_confirmed"] = to_micros(attempt.ended_at)
    else:
        parameters["a_next"] = to_micros(next_attempt_at)
    statement = _recording(attempt.outcome, confirmed=next_attempt_at is None)
    row = changed(conn, statement, parameters)
    if row is None:
        return _record_lost(conn, claimed, attempt)
    add_attempt(conn, row, attempt)
    if next_attempt_at is None:
        tell(conn, row, told, status="completed", at=attempt.ended_at)
    elif row["sent_at"] is not None:
        tell(conn, row, told, status="in-progress", at=attempt.ended_at)
    if escalation is not None:
        mark = update_of(claimed.bucket, claimed.id).values(
            marks_of(escalation, at=attempt.ended_at)
        )
        conn.execute(mark)
    # Followers were moved only by an earlier attempt.
    if next_attempt_at is not None or claimed.attempts:
        move_followers(conn, row, at=next_attempt_at or attempt.ended_at)
    fault("K11")
    return True


def hand_back(conn: Connection, unsent: Sequence[Claimed]) -> None:
    """Give up the leases of notices that were not tried; whoever has them now keeps them."""
    keys = [(c.bucket, c.id, c.token) for c in unsent]
    conn.execute(
        update(notice)
        .where(
            among([notice.c.bucket, notice.c.id, notice.c.token], keys),
            notice.c.state == "pending",
        )
        .values(lease_until=0)
    )


def hasten(conn: Connection, *, recipient: str, now: datetime, limit: int) -> int:
    """Make due what waits because this recipient gave no answer; how many, at most `limit`.

    What they refused, what lies with them unacknowledged and what is leased keeps its time.
    """
    refused = exists().where(
        notice_attempt.c.bucket == notice.c.bucket,
        notice_attempt.c.notice_id == notice.c.id,
        notice_attempt.c.outcome.in_(("refused", "unsendable")),
    )
    at = to_micros(now)
    waiting = (
        select(notice.c.bucket, notice.c.id)
        .where(
            notice.c.state == _PENDING,
            notice.c.recipient == recipient,
            notice.c.next_attempt_at > at,
            notice.c.attempts > 0,
            notice.c.sent_at.is_(None),
            notice.c.lease_until <= at,
            ~refused,
        )
        .order_by(notice.c.next_attempt_at, notice.c.bucket, notice.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=notice)
        .cte("waiting")
    )
    found = conn.execute(
        update(notice)
        .where(tuple_(notice.c.bucket, notice.c.id).in_(select(waiting.c.bucket, waiting.c.id)))
        .values(next_attempt_at=at)
        .returning(notice.c.id)
    )
    return len(found.all())


# The partial index is used only where its condition is a literal: with a bound value PostgreSQL's
# generic plan reads the whole table.
_PENDING: Final[ColumnElement[str]] = literal_column("'pending'")
_CLAIMED: Final = (
    notice.c.type,
    notice.c.method,
    notice.c.message,
    notice.c.media_type,
    notice.c.sha256,
    notice.c.due_at,
    notice.c.next_attempt_at,
    notice.c.escalated_at,
    notice.c.token,
    notice.c.lease_until,
    *CHANGED,
)


def _due(at: int, limit: int, passing_over: Collection[str]) -> CTE:
    """The notices to claim, locked; a CTE, since PostgreSQL may run a bare IN more than once."""
    earlier = notice.alias("earlier")
    first_of_lane = ~exists().where(
        earlier.c.bucket == notice.c.bucket,
        earlier.c.referral_id == notice.c.referral_id,
        earlier.c.recipient == notice.c.recipient,
        earlier.c.lane < notice.c.lane,
        earlier.c.state == _PENDING,
        earlier.c.method != "",
    )
    query = select(notice.c.bucket, notice.c.id).where(
        notice.c.state == _PENDING,
        notice.c.method != "",
        notice.c.next_attempt_at <= at,
        notice.c.lease_until <= at,
        first_of_lane,
    )
    if passing_over:
        query = query.where(notice.c.recipient.not_in(sorted(passing_over)))
    return (
        query.order_by(notice.c.next_attempt_at, notice.c.bucket, notice.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=notice)
        .cte("due")
    )


def _refusals(conn: Connection, rows: Sequence[RowMapping]) -> Counter[tuple[int, str]]:
    if not rows:
        return Counter()
    a = notice_attempt.c
    query = (
        select(a.bucket, a.notice_id, func.count())
        .where(
            among([a.bucket, a.notice_id], [(row["bucket"], row["id"]) for row in rows]),
            a.outcome == "refused",
        )
        .group_by(a.bucket, a.notice_id)
    )
    return Counter({(bucket, id_): count for bucket, id_, count in conn.execute(query)})


def _claimed(row: RowMapping, refusals: int) -> Claimed:
    return Claimed(
        bucket=row["bucket"],
        id=row["id"],
        referral_id=row["referral_id"],
        lane=row["lane"],
        recipient=row["recipient"],
        type=row["type"],
        method=row["method"],
        message=bytes(row["message"]),
        media_type=row["media_type"],
        sha256=row["sha256"],
        communication_id=row["communication_id"],
        due_at=from_micros(row["due_at"]),
        attempts=row["attempts"],
        refusals=refusals,
        sent_at=instant(row["sent_at"]),
        escalated=row["escalated_at"] is not None,
        token=row["token"],
        lease_until=from_micros(row["lease_until"]),
    )


@cache
def _recording(outcome: str, *, confirmed: bool) -> Update:
    """The UPDATE of a notice whose lease is still held: none matches otherwise."""
    end: dict[str, Any] = {"state": "confirmed", "confirmed_at": bindparam("a_confirmed")}
    again: dict[str, Any] = {"next_attempt_at": bindparam("a_next")}
    return (
        update(notice)
        .where(
            IS_THIS,
            notice.c.token == bindparam("a_token"),
            notice.c.state == "pending",
            notice.c.lease_until > 0,  # recording sets it to 0: the same attempt counts once
        )
        .values(
            attempts=notice.c.attempts + 1,
            lease_until=0,
            **FACTS.get(outcome, {}),
            **(end if confirmed else again),
        )
        .returning(*CHANGED)
    )


def _record_lost(conn: Connection, claimed: Claimed, attempt: Attempt) -> bool:
    a = notice_attempt.c
    same = select(a.outcome).where(
        a.bucket == claimed.bucket,
        a.notice_id == claimed.id,
        a.started_at == to_micros(attempt.started_at),
    )
    recorded: str | None = conn.execute(same).scalar()
    if recorded is not None:
        return recorded != "lease-lost"
    # That it went out is true whoever owns the notice now.
    values = {"attempts": notice.c.attempts + 1, **FACTS.get(attempt.outcome, {})}
    row = changed(
        conn, update_of(claimed.bucket, claimed.id).values(values), facts_parameters(attempt)
    )
    if row is not None:
        lost = f"{attempt.outcome}: {attempt.detail}" if attempt.detail else attempt.outcome
        add_attempt(conn, row, replace(attempt, outcome="lease-lost", detail=lost))
    return False
