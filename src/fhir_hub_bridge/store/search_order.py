"""The order of a search, and the place in it where a page ended.

A place names the version of the last row seen. What it is sorted by is read from that version
again, which never changes: so pages stand still while others write, and no value of a resource
is in a link. Before: `search_sources`. After: `resource_search`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    and_,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.search import index_values
from fhir_hub_bridge.fhir.search_values import IndexValues, Kind, SortKey
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.search_comparisons import Condition
from fhir_hub_bridge.store.search_conditions import TABLE_OF, same_resource
from fhir_hub_bridge.store.search_index import bounded, head
from fhir_hub_bridge.store.search_sources import Source
from fhir_hub_bridge.store.tables import resource, resource_version


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the next one begins after this version."""

    last_updated: datetime
    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Term:
    """One expression to order by, rising or falling; what may have no value is last without."""

    by: ColumnElement[Any]
    falling: bool
    optional: bool = False

    def directed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column that holds the expression, as ORDER BY takes it."""
        order = column.desc() if self.falling else column.asc()
        return order.nulls_last() if self.optional else order


def is_by_time(sort: Sequence[SortKey]) -> bool:
    """Whether the order is that of the last change, as it is unless something else is asked."""
    return [key.name for key in sort] in ([], ["_lastUpdated"])


def terms_of(sort: Sequence[SortKey], source: Source) -> list[Term]:
    """The expressions that put a search in one order, with no two rows in one place.

    Resources without a value come last, rising or falling. Of several values the lowest counts,
    or falling the highest. What is left even is ordered by time, newest first.
    """
    terms: list[Term] = []
    newest_first, timed = True, False
    for key in sort:
        if key.name == "_id":
            return [*terms, Term(source.id, key.descending)]
        if key.name == "_lastUpdated":
            terms.append(Term(source.last_updated, key.descending))
            newest_first, timed = key.descending, True
            continue
        terms.append(Term(_value(key), key.descending, optional=True))
    if not timed:
        terms.append(Term(source.last_updated, newest_first))
    return [*terms, Term(source.id, newest_first)]


def after(
    conn: Connection, place: Place, *, type_: str, sort: Sequence[SortKey], terms: Sequence[Term]
) -> Condition:
    """Whether a row comes after the place. Raises ResourceRejected for one that never was."""
    time: Any = literal(to_micros(place.last_updated), BigInteger)
    id_: Any = literal(place.id, Text)
    if is_by_time(sort):
        here, there = tuple_(*(term.by for term in terms)), tuple_(time, id_)
        return here < there if terms[0].falling else here > there
    body = _body_of(conn, place, type_)
    values: list[Any] = []
    for key in sort:
        if key.name == "_id":
            break
        if key.name == "_lastUpdated":
            values.append(time)
        else:
            values.append(_value_in(body, key))
    # Time and id, as far as the order did not have them before.
    values += [time, id_][len(values) - len(terms) :]
    return _beyond(terms, values)


def _value(key: SortKey) -> ColumnElement[Any]:
    """What a resource is sorted by. A date or period is sorted by its beginning."""
    if key.column:
        column: ColumnElement[Any] = resource.c[key.column]
        return column
    rows = TABLE_OF[key.kind].alias()
    value = rows.c[_COLUMNS[key.kind]]
    best = func.max(value) if key.descending else func.min(value)
    own = and_(same_resource(rows, resource), rows.c.param == key.name)
    return select(best).where(own).correlate(resource).scalar_subquery()


_COLUMNS: Final[dict[Kind, str]] = {
    "token": "value",
    "uri": "value",
    "composite": "value",
    "reference": "target",
    "date": "lower",
    "string": "folded",
}


def _value_in(body: Json, key: SortKey) -> Any:
    """The same of a resource at hand."""
    found = index_values(body)
    if key.column:
        return getattr(found, key.column)
    values = [value for name, value in _indexed(found, key) if name == key.name]
    return (max(values) if key.descending else min(values)) if values else None


def _indexed(found: IndexValues, key: SortKey) -> list[tuple[str, Any]]:
    match key.kind:
        case "reference":
            return [(name, bounded(target)) for name, target in found.references]
        case "date":
            return [(name, to_micros(lower)) for name, lower, _ in found.dates]
        case "string":
            return [(name, head(folded)) for name, folded, _ in found.strings]
        case "token" | "uri" | "composite":
            return [(name, bounded(code)) for name, _, code in found.tokens]


def _body_of(conn: Connection, place: Place, type_: str) -> Json:
    version = resource_version.c
    body = conn.execute(
        select(version.body).where(
            version.bucket == bucket_of(type_, place.id),
            version.type == type_,
            version.id == place.id,
            version.version == place.version,
        )
    ).scalar()
    if body is None:
        message = "This page's link cannot be read; begin the search again."
        raise ResourceRejected(
            issues=[Issue("_cursor", message, code="value", rule="search-parameter")]
        )
    return parse_json(bytes(body))


def _beyond(terms: Sequence[Term], values: Sequence[Any]) -> Condition:
    """Whether a row is beyond these values: in one term, and even in all before it."""
    ways: list[Condition] = []
    even: list[Condition] = []
    for term, value in zip(terms, values, strict=True):
        if value is not None:
            further = term.by < value if term.falling else term.by > value
            last = term.by.is_(None) if term.optional else false()
            ways.append(and_(*even, or_(further, last)))
        even.append(term.by.is_(None) if value is None else term.by == value)
    return or_(*ways)
