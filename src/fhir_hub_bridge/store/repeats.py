"""Requests that were answered before: the same request again gets the first answer.

And requests with one and the same condition, which wait for each other here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, delete, or_, select

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.store.buckets import bucket_of_key
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.keys import among, among_given, keys_given
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import answered_request

_CONDITION_KEPT = timedelta(days=1)

_HEADERS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


# Built once: building a statement costs more than the database takes to answer it.
_COLUMNS = answered_request.c
_FIND = select(answered_request).where(
    among_given([_COLUMNS.bucket, _COLUMNS.key]),
    or_(_COLUMNS.expires_at.is_(None), _COLUMNS.expires_at >= bindparam("now")),
)
_DROP_EXPIRED = delete(answered_request).where(
    _COLUMNS.bucket.in_(bindparam("buckets", expanding=True)),
    _COLUMNS.expires_at < bindparam("now"),
)


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
    pairs = [(bucket_of_key(key.key), key.key) for key in keys]
    given = {**keys_given(pairs), "now": to_micros(now)}
    row = conn.execute(_FIND, given).mappings().first()
    if row is None:
        return None
    if any(key.digest != row["digest"] for key in keys if key.key == row["key"]):
        message = "This Idempotency-Key came before with another body."
        raise RuleBroken("idempotency-key", message)
    headers = _HEADERS.validate_json(row["headers"])
    return FirstAnswer(row["status"], headers, bytes(row["body"]))


def remembering(
    conn: Connection, keys: Sequence[RepeatKey], answer: FirstAnswer, *, now: datetime
) -> Batch:
    """The rows that keep an answer under these keys; what no longer counts in their buckets goes.

    Stored by `Writes.flush`, which raises AlreadyAnswered if another request was faster.
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
    where = sorted({bucket_of_key(key.key) for key in keys})
    if where:  # a few buckets' share at a time
        conn.execute(_DROP_EXPIRED, {"buckets": where, "now": to_micros(now)})
    return Batch(answered_request, rows)


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
