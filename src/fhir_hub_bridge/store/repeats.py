"""Requests that were answered before: the same request again gets the first answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import IntegrityError

from fhir_hub_bridge.errors import AlreadyAnswered
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import answered_request

_HEADERS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class RepeatKey:
    """One way in which a later request can be the same; `lasts` None means for ever."""

    key: str
    lasts: timedelta | None = None


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def first_answer(
    conn: Connection, keys: Sequence[RepeatKey], *, now: datetime
) -> FirstAnswer | None:
    """The answer given to a request with one of these keys, where it still counts."""
    if not keys:
        return None
    lasting = {key.key: key.lasts for key in keys}
    query = select(answered_request).where(answered_request.c.key.in_(lasting))
    for row in conn.execute(query).mappings().all():
        lasts = lasting[row["key"]]
        if lasts is None or to_micros(now - lasts) <= row["answered_at"]:
            headers = _HEADERS.validate_json(row["headers"])
            return FirstAnswer(row["status"], headers, bytes(row["body"]))
        conn.execute(delete(answered_request).where(answered_request.c.key == row["key"]))
    return None


def remember(
    conn: Connection, keys: Sequence[RepeatKey], answer: FirstAnswer, *, now: datetime
) -> None:
    """Keep the answer under these keys. Raises AlreadyAnswered if another request was faster."""
    rows = [
        {
            "key": key.key,
            "status": answer.status,
            "headers": _HEADERS.dump_json(answer.headers).decode(),
            "body": answer.body,
            "answered_at": to_micros(now),
        }
        for key in keys
    ]
    try:
        insert_all(conn, [Batch(answered_request, rows)])
    except IntegrityError as error:
        raise AlreadyAnswered from error
