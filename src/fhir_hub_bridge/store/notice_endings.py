"""How a notice ends or is marked from outside delivery: a receipt, a person's word, an alarm, time.

Before it: `delivery.proof`, the API, the console. Each is a unit of its own.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, func, literal_column, select, tuple_, update

from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.notice_rows import (
    Attempt,
    Escalation,
    Told,
    add_attempt,
    changed,
    lock_notice,
    marks_of,
    move_followers,
    tell,
    update_of,
)
from fhir_hub_bridge.store.tables import notice, notice_attempt


class Acknowledgement(StrEnum):
    """What became of an acknowledgement."""

    CONFIRMED = "confirmed"
    ALREADY_ENDED = "already-ended"  # kept as a further proof
    OTHER_CONTENT = "other-content"  # it names other bytes: not taken


def record_acknowledgement(
    conn: Connection,
    *,
    notice_id: str,
    sha256: str,
    received_at: datetime,
    now: datetime,
    told: Told,
) -> Acknowledgement:
    """Take a party's word that it has these bytes: proof of receipt, whatever the agreement asks.

    Raises Unknown when no notice has this id. A second one changes nothing.
    """
    row = lock_notice(conn, notice_id)
    if row["sha256"] != sha256.lower():
        return Acknowledgement.OTHER_CONTENT
    pending = row["state"] == "pending"
    if not pending and row["received_at"] is not None:
        return Acknowledgement.ALREADY_ENDED
    values: dict[str, Any] = {
        "attempts": row["attempts"] + 1,
        "received_at": to_micros(received_at),
    }
    if pending:
        values |= {"state": "confirmed", "confirmed_at": to_micros(now), "lease_until": 0}
    row = _changed(conn, row, values)
    add_attempt(conn, row, Attempt(received_at, now, "received", "acknowledged"))
    if row["state"] == "confirmed":
        tell(conn, row, told, status="completed", at=now)
    if not pending:
        return Acknowledgement.ALREADY_ENDED
    move_followers(conn, row, at=now)
    return Acknowledgement.CONFIRMED


def escalate(conn: Connection, *, notice_id: str, escalation: Escalation, now: datetime) -> bool:
    """Mark a pending notice as in trouble; False when it is marked already or has ended."""
    unmarked = update_of(bucket_of("Notice", notice_id), notice_id).where(
        notice.c.state == "pending", notice.c.escalated_at.is_(None)
    )
    return changed(conn, unmarked.values(marks_of(escalation, at=now))) is not None


def escalate_past_due(conn: Connection, *, to: str, now: datetime, limit: int) -> int:
    """Give `to` the pending notices past their due moment that nobody has; how many, at most limit.

    Why: `past-due`, with what the last attempt said where there was one.
    """
    a = notice_attempt.c
    due = (
        select(notice.c.bucket, notice.c.id)
        .where(
            notice.c.state == literal_column("'pending'"),
            notice.c.due_at < to_micros(now),
            notice.c.escalated_at.is_(None),
        )
        .order_by(notice.c.due_at, notice.c.bucket, notice.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=notice)
        .cte("due")
    )
    last_said = (
        select("past-due: " + a.detail)
        .where(a.bucket == notice.c.bucket, a.notice_id == notice.c.id, a.detail != "")
        .order_by(a.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = conn.execute(
        update(notice)
        .where(tuple_(notice.c.bucket, notice.c.id).in_(select(due.c.bucket, due.c.id)))
        .values(
            escalated_at=to_micros(now),
            escalated_to=to,
            escalated_why=func.coalesce(last_said, "past-due"),
        )
        .returning(notice.c.id)
    )
    return len(found.all())


def withhold(
    conn: Connection, notice_id: str, *, rule: str, by: str, now: datetime, told: Told
) -> bool:
    """End a pending notice without telling: `by` a person or an agreement, under `rule`; both kept.

    False when it has ended before. Raises Unknown. Its lane goes on.
    """
    row = lock_notice(conn, notice_id)
    if row["state"] != "pending":
        return False
    values = {"state": "withheld", "rule": rule, "lease_until": 0, "attempts": row["attempts"] + 1}
    row = _changed(conn, row, values)
    add_attempt(conn, row, Attempt(now, now, "withheld", f"by {by}, rule {rule}"))
    tell(conn, row, told, status="not-done", at=now)
    move_followers(conn, row, at=now)
    return True


def _changed(conn: Connection, row: RowMapping, values: dict[str, Any]) -> RowMapping:
    after = changed(conn, update_of(row["bucket"], row["id"]).values(values))
    assert after is not None  # noqa: S101  # the row is locked
    return after
