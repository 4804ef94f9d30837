"""Requests that were answered before: the same request again gets the first answer.

And requests with one and the same condition, which wait for each other here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, or_, select
from sqlalchemy.exc import IntegrityError

from fhir_hub_bridge.errors import AlreadyAnswered, RuleBroken
from fhir_hub_bridge.store.buckets import bucket_of_key
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import answered_request

_CONDITION_KEPT = timedelta(days=1)

_HEADERS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class RepeatKey:
    """One way in which a later request can be the same; `lasts` None means for ever.

    With a `digest` the key is good for one body only.
    """

    key: str
    lasts: timedelta | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def first_answer(
    conn: Connection, keys: Sequence[RepeatKey], *, now: datetime
) -> FirstAnswer | None:
    """The answer given to a request with one of these keys, where it still counts.

    Raises RuleBroken (`idempotency-key`) for a key that came with another body.
    """
    if not keys:
        return None
    columns = answered_request.c
    query = select(answered_request).where(
        among([columns.bucket, columns.key], [(bucket_of_key(key.key), key.key) for key in keys]),
        or_(columns.expires_at.is_(None), columns.expires_at >= to_micros(now)),
    )
    row = conn.execute(query).mappings().first()
    if row is None:
        return None
    if any(key.digest != row["digest"] for key in keys if key.key == row["key"]):
        message = "This Idempotency-Key came before with another body."
        raise RuleBroken("idempotency-key", message)
    headers = _HEADERS.validate_json(row["headers"])
    return FirstAnswer(row["status"], headers, bytes(row["body"]))


def remember(
    conn: Connection, keys: Sequence[RepeatKey], answer: FirstAnswer, *, now: datetime
) -> None:
    """Keep the answer under these keys, and drop what no longer counts in their buckets.

    Raises AlreadyAnswered if another request was faster.
    """
    rows = [
        {
            "bucket": bucket_of_key(key.key),
            "key": key.key,
            "digest": key.digest,
            "status": answer.status,
            "headers": _HEADERS.dump_json(answer.headers).decode(),
            "body": answer.body,
            "answered_at": to_micros(now),
            "expires_at": None if key.lasts is None else to_micros(now + key.lasts),
        }
        for key in keys
    ]
    expired = answered_request.c.expires_at < to_micros(now)
    where = sorted({bucket_of_key(key.key) for key in keys})
    if where:  # a few buckets' share at a time
        in_them = answered_request.c.bucket.in_(where)
        conn.execute(delete(answered_request).where(in_them, expired))
    try:
        insert_all(conn, [Batch(answered_request, rows)])
    except IntegrityError as error:
        raise AlreadyAnswered from error


def forget(conn: Connection, keys: Sequence[RepeatKey]) -> None:
    """Drop what was answered under these keys: it counts no more."""
    columns = answered_request.c
    pairs = [(bucket_of_key(key.key), key.key) for key in keys]
    if pairs:
        conn.execute(delete(answered_request).where(among([columns.bucket, columns.key], pairs)))


def hold_conditions(conn: Connection, conditions: Collection[str], *, now: datetime) -> None:
    """Keep others with one of these conditions waiting until the transaction ends.

    Held in one order. Who searches after it finds what the one before has created.
    """
    keys = sorted(f"condition:{condition}" for condition in set(conditions))
    rows = [
        {
            "bucket": bucket_of_key(key),
            "key": key,
            "digest": "",
            "status": 0,
            "headers": "{}",
            "body": b"",
            "answered_at": to_micros(now),
            "expires_at": to_micros(now + _CONDITION_KEPT),
        }
        for key in keys
    ]
    insert_all(conn, [Batch(answered_request, rows, replace=("bucket", "key"))])
