"""The rows that resources are found by: tokens, references, dates and strings.

They all go with the current version and are replaced with it. Before: `fhir.search_values` says
what they are made of. After: `search_conditions` asks them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from sqlalchemy import Connection, delete, exists, literal, select, tuple_

from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.reference import parse_reference, references_in
from fhir_hub_bridge.fhir.search import index_values
from fhir_hub_bridge.fhir.search_values import IndexValues
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.rows import Batch, Row, delete_all, insert_all
from fhir_hub_bridge.store.tables import (
    resource,
    search_date,
    search_reference,
    search_string,
    search_token,
)

# (bucket, type, id) of a resource.
Key: TypeAlias = tuple[int, str, str]

INDEX_TABLES: Final = (search_token, search_reference, search_date, search_string)

_KEY: Final = ("bucket", "type", "id")
_LONGEST: Final = 200  # characters; PostgreSQL takes no index entry over 2,704 bytes
_KEPT: Final = _LONGEST - 64
_CHUNK: Final = 500
_NAMES: Final = ""  # in place of a parameter: most elements that refer have none


def index_batches(found: Iterable[tuple[Key, int, IndexValues]]) -> list[Batch]:
    """The rows of these resources: each by its key, last change (microseconds) and values."""
    tokens: list[Row] = []
    references: list[Row] = []
    dates: list[Row] = []
    strings: list[Row] = []
    for (bucket, type_, id_), at, values in found:
        own = {"bucket": bucket, "type": type_, "id": id_, "last_updated": at}
        tokens += [
            {**own, "param": param, "system": bounded(system), "value": bounded(code)}
            for param, system, code in values.tokens
        ]
        references += [
            {**own, "param": param, "target": bounded(target)}
            for param, target in values.references
        ]
        own = {"bucket": bucket, "type": type_, "id": id_}
        dates += [
            {**own, "param": param, "lower": to_micros(lower), "upper": to_micros(upper)}
            for param, lower, upper in values.dates
        ]
        strings += [
            {**own, "param": param, "number": number, "folded": head(folded), "exact": exact}
            for number, (param, folded, exact) in enumerate(values.strings)
        ]
    rows = (tokens, references, dates, strings)
    return [Batch(table, own) for table, own in zip(INDEX_TABLES, rows, strict=True)]


def found_by(body: Json, *, referral_id: str) -> IndexValues:
    """What a resource is found by; a referral's also by all that it names (`is_named`)."""
    values = index_values(body)
    if not referral_id:
        return values
    names = (parse_reference(text) for text in references_in(body))
    named = dict.fromkeys(f"{name.type}/{name.id}" for name in names if name and name.is_local)
    return replace(values, references=(*values.references, *((_NAMES, name) for name in named)))


def is_named(conn: Connection, reference: str) -> bool:
    """Whether any resource of a referral names `Type/id`, by whatever element."""
    row = search_reference.c
    named = exists().where(
        row.type.in_(SUPPORTED_TYPES), row.param == _NAMES, row.target == reference
    )
    return bool(conn.execute(select(named)).scalar_one())


def clear_index(conn: Connection, keys: Sequence[Key]) -> None:
    """Let nothing find these resources but their columns."""
    delete_all(conn, INDEX_TABLES, columns=_KEY, keys=keys)


def rebuild_index(conn: Connection) -> None:
    """Write all rows anew from the resources as stored: after a change of what is indexed."""
    for table in INDEX_TABLES:
        conn.execute(delete(table))
    columns = [resource.c[name] for name in _KEY]
    others = [resource.c[name] for name in ("last_updated", "body", "referral_id")]
    chunk = select(*columns, *others).order_by(*columns)
    rows = conn.execute(chunk.limit(_CHUNK)).all()
    while rows:
        values = [found_by(parse_json(row.body), referral_id=row.referral_id) for row in rows]
        keys = [(row.bucket, row.type, row.id) for row in rows]
        times = [row.last_updated for row in rows]
        insert_all(conn, index_batches(zip(keys, times, values, strict=True)))
        last = zip(keys[-1], columns, strict=True)
        end = tuple_(*(literal(part, column.type) for part, column in last))
        rows = conn.execute(chunk.where(tuple_(*columns) > end).limit(_CHUNK)).all()


def bounded(text: str) -> str:
    """A text to be found as a whole, short enough for an index: a long one ends in its digest."""
    if len(text) <= _LONGEST:
        return text
    return text[:_KEPT] + hashlib.sha256(text.encode()).hexdigest()


def head(text: str) -> str:
    """As much of a text to be found by its beginning as an index holds."""
    return text[:_LONGEST]
