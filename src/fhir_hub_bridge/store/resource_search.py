"""A search as SQL: keys first, by index and in order, then the bodies of one page.

Pages go by the place of the last row seen (time, id), so the thousandth costs what the first did.
Before: `fhir.search`, which says what is asked. https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    false,
    func,
    not_,
    or_,
    select,
    tuple_,
)

from fhir_hub_bridge.fhir.search import DateValue, Filter, Query, TokenValue
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.resources import Stored, stored_of
from fhir_hub_bridge.store.tables import resource, search_token


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the next one begins after it."""

    last_updated: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """The matches of one page in order, whether more follow, how many match in all if counted."""

    matches: tuple[Stored, ...]
    more: bool
    total: int | None = None

    @property
    def end(self) -> Place | None:
        """The place after which the next page begins; None when nothing follows."""
        if not (self.more and self.matches):
            return None
        return Place(self.matches[-1].last_updated, self.matches[-1].id)


def search(
    conn: Connection,
    query: Query,
    *,
    limit: int,
    after: Place | None = None,
    counted: bool = False,
) -> Page:
    """At most `limit` current versions that match, newest first unless the query sorts otherwise.

    One statement (keys, then bodies), so `read` will do; `counted` adds a second, for
    `read_snapshot`. Raises KeyError for a parameter that the store does not keep.
    """
    rising = query.sort == "_lastUpdated"
    last_updated, id_ = resource.c.last_updated, resource.c.id
    keys = _matching(query, resource.c.bucket, resource.c.type, id_)
    if after is not None:
        here = tuple_(last_updated, id_)
        place = tuple_(
            bindparam("at", to_micros(after.last_updated), BigInteger),
            bindparam("after", after.id, Text),
        )
        keys = keys.where(here > place if rising else here < place)
    # With ids given, sorting a few rows is better than walking the index that is sorted already.
    at = last_updated + 0 if any(f.name == "_id" for f in query.filters) else last_updated
    order = (at, id_) if rising else (at.desc(), id_.desc())
    found = keys.order_by(*order).limit(limit + 1).subquery()
    same = (
        resource.c.bucket == found.c.bucket,
        resource.c.type == found.c.type,
        id_ == found.c.id,
    )
    bodies = select(
        resource.c.type,
        id_,
        resource.c.version,
        last_updated,
        resource.c.body,
        resource.c.source,
        resource.c.referral_id,
    )
    bodies = bodies.join(found, and_(*same)).order_by(*order)
    rows = conn.execute(bodies).mappings().all()
    return Page(
        tuple(stored_of(row) for row in rows[:limit]),
        more=len(rows) > limit,
        total=count(conn, query) if counted else None,
    )


def count(conn: Connection, query: Query) -> int:
    """How many current versions match."""
    found: int = conn.execute(_matching(query, func.count())).scalar_one()
    return found


def _matching(query: Query, *columns: Any) -> Select[Any]:
    """These columns of all that match.

    Few resources have an identifier that is asked for by its value: they are gathered first, and
    the other conditions are put to them alone.
    """
    filters = list(query.filters)
    matching = select(*columns).select_from(resource).where(resource.c.type == query.type)
    first = next((f for f in filters if f.name == "identifier" and _names_values(f)), None)
    if first is not None:
        filters.remove(first)
        few = _tokens(query.type, first.name).where(_any_token(first)).distinct().subquery()
        both = and_(resource.c.bucket == few.c.bucket, resource.c.id == few.c.id)
        matching = matching.join(few, both)
    return matching.where(*(_CONDITIONS[asked.name](query.type, asked) for asked in filters))


def _names_values(asked: Filter) -> bool:
    return all(value.code is not None for value in asked.values)


def _by_id(type_: str, asked: Filter) -> ColumnElement[bool]:
    ids = [value.code for value in asked.values if value.code and not value.system]
    if not ids:
        return false()
    # The bucket is known from the id; each alternative is then one look into the primary key.
    return or_(
        *(
            and_(
                resource.c.bucket == bucket_of(type_, id_),
                resource.c.type == type_,
                resource.c.id == id_,
            )
            for id_ in ids
        )
    )


def _by_time(_: str, asked: Filter) -> ColumnElement[bool]:
    return or_(*(_within(value) for value in asked.values))


def _within(value: DateValue) -> ColumnElement[bool]:
    bounds: list[ColumnElement[bool]] = []
    if value.lower is not None:
        bounds.append(resource.c.last_updated >= to_micros(value.lower))
    if value.upper is not None:
        bounds.append(resource.c.last_updated < to_micros(value.upper))
    return not_(and_(*bounds)) if value.negated else and_(*bounds)


def _by_identifier(type_: str, asked: Filter) -> ColumnElement[bool]:
    return _has_token(type_, asked, _any_token(asked))


def _any_token(asked: Filter) -> ColumnElement[bool]:
    return or_(*(_token(value) for value in asked.values))


def _token(value: TokenValue) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = []
    if value.code is not None:
        parts.append(search_token.c.value == value.code)
    if value.system is not None:
        parts.append(search_token.c.system == value.system)
    return and_(*parts)


def _by_profile(type_: str, asked: Filter) -> ColumnElement[bool]:
    return _has_token(type_, asked, search_token.c.value.in_(asked.values))


def _has_token(type_: str, asked: Filter, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # Where most match, each candidate is looked up, and the page stops at its limit.
    return (
        _tokens(type_, asked.name)
        .where(
            search_token.c.bucket == resource.c.bucket,
            search_token.c.id == resource.c.id,
            condition,
        )
        .exists()
    )


def _tokens(type_: str, parameter: str) -> Select[Any]:
    return select(search_token.c.bucket, search_token.c.id).where(
        search_token.c.type == type_, search_token.c.param == parameter
    )


def _by_status(_: str, asked: Filter) -> ColumnElement[bool]:
    return _by_column(asked, [value.code for value in asked.values if _is_code(value)])


def _is_code(value: Any) -> bool:
    return isinstance(value, TokenValue) and value.code is not None and not value.system


def _by_reference(_: str, asked: Filter) -> ColumnElement[bool]:
    return _by_column(asked, asked.values)


def _by_column(asked: Filter, values: Sequence[Any]) -> ColumnElement[bool]:
    column: ColumnElement[str | None] = resource.c[asked.name]
    if asked.modifier == "missing":
        return column.is_(None) if asked.values[0] else column.is_not(None)
    if asked.modifier == "not":
        return or_(column.is_(None), column.not_in(values))
    return column.in_(values)


_CONDITIONS: Final[Mapping[str, Callable[[str, Filter], ColumnElement[bool]]]] = MappingProxyType(
    {
        "_id": _by_id,
        "_lastUpdated": _by_time,
        "_profile": _by_profile,
        "identifier": _by_identifier,
        "status": _by_status,
        "owner": _by_reference,
        "requester": _by_reference,
        "patient": _by_reference,
    }
)
