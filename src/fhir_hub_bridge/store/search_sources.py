"""Where a search begins: at the few rows of one condition, or along an index that is in order.

The other conditions are put to those candidates alone. Before: `search_conditions`. After:
`resource_search`, which puts a page together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    exists,
    select,
    union,
)

from fhir_hub_bridge.fhir.search_values import Chain, Filter, Has, Query, TokenValue
from fhir_hub_bridge.store.search_comparisons import Condition
from fhir_hub_bridge.store.search_conditions import (
    condition,
    is_found_by_index,
    is_indexed,
    names_of_matches,
    rows_that_answer,
    same_resource,
)
from fhir_hub_bridge.store.tables import resource, search_reference, search_token

Asked: TypeAlias = Filter | Chain | Has


@dataclass(frozen=True, slots=True)
class Source:
    """Candidates that all conditions have been put to.

    `rows` are joined for it, `of` has the key of a candidate; its time and id give the order.
    """

    rows: FromClause
    of: FromClause
    conditions: tuple[Condition, ...]
    last_updated: ColumnElement[int]

    @property
    def id(self) -> ColumnElement[str]:
        """The id of a candidate."""
        id_: ColumnElement[str] = self.of.c.id
        return id_

    def select(self, *columns: Any) -> Select[Any]:
        """These columns of all that match."""
        return select(*columns).select_from(self.rows).where(*self.conditions)


def source_of(query: Query, *, within: Sequence[Filter] = (), by_time: bool) -> Source:
    """Begin where the fewest candidates are to be expected.

    `within` are conditions of which one must hold, as those of a compartment are; `by_time` says
    that the page is in order of time, so that a walk may stop at its limit.
    """
    filters: list[Asked] = list(query.filters)
    if len(within) == 1:
        filters += within
    elif within:
        # One resource's compartment holds few, whatever else is asked.
        return _gathered(query.type, union(*(_keys(query.type, one) for one in within)), filters)
    first = min(filters, key=_rank, default=None)
    match first:
        case Filter() if by_time and _is_walked(first):
            filters.remove(first)
            return _walked(query.type, first, filters)
        case Filter() | Chain() if _rank(first) < _PLAIN and not _is_by_column(first):
            filters.remove(first)
            return _gathered(query.type, _keys(query.type, first).distinct(), filters)
        case _:
            return _plain(query.type, filters, first)


_PLAIN: Final = 9  # the place of what is best answered along the order of the page


def _rank(asked: Asked) -> int:
    """The fewer candidates it leaves, the lower."""
    match asked:
        case Filter(name="_id", modifier=""):
            return 0
        case Filter() if asked.modifier in ("missing", "not"):
            return _PLAIN
        case Filter(name="identifier") | Filter(modifier="identifier"):
            return 1 if _is_coded(asked) else _PLAIN
        case Filter(kind="reference"):
            return 2
        case Chain():
            return 3
        case Filter(kind="string", modifier="" | "exact"):
            return 4
        case Filter(kind="date", name=name) if name != "_lastUpdated" and all(
            value.prefix == "eq" for value in asked.values
        ):
            return 5
        case Filter(kind="token" | "uri" | "composite", column="") if _is_coded(asked):
            return 6
        case _:
            return _PLAIN


def _is_coded(asked: Filter) -> bool:
    return all(not isinstance(v, TokenValue) or v.code is not None for v in asked.values)


def _is_by_column(asked: Filter | Chain) -> bool:
    """Whether an index on `resource` itself serves it."""
    if isinstance(asked, Chain):
        return bool(asked.column)
    return not is_found_by_index(asked)


def _is_walked(asked: Filter) -> bool:
    """Whether its one value has its rows in order of time."""
    in_order = asked.kind in ("token", "uri", "composite", "reference")
    return (
        in_order and _rank(asked) < _PLAIN and len(asked.values) == 1 and not _is_by_column(asked)
    )


def _plain(type_: str, filters: Sequence[Asked], first: Asked | None) -> Source:
    if first is None or _rank(first) == _PLAIN:
        # Whether to walk or to gather is for the database to tell, which knows what is rare.
        return Source(resource, resource, _conditions(type_, filters), resource.c.last_updated)
    # With ids given, sorting a few rows is better than walking the index that is sorted already.
    is_few = isinstance(first, Filter) and first.name == "_id"
    at = resource.c.last_updated + 0 if is_few else resource.c.last_updated
    others = [asked for asked in _elsewhere(filters) if asked is not first]
    return Source(resource, resource, _conditions(type_, filters, alone=others), at)


def _gathered(type_: str, keys: Any, filters: Sequence[Asked]) -> Source:
    few = keys.subquery()
    both = and_(resource.c.bucket == few.c.bucket, resource.c.id == few.c.id)
    at = resource.c.last_updated + 0
    conditions = _conditions(type_, filters, alone=_elsewhere(filters))
    return Source(resource.join(few, both), resource, conditions, at)


def _walked(type_: str, asked: Filter, filters: Sequence[Asked]) -> Source:
    rows, answers = rows_that_answer(asked)
    conditions = [rows.c.type == type_, answers]
    if _names_no_system(asked):
        # A code may be there in several systems; it counts once.
        other = search_token.alias()
        again = and_(
            same_resource(other, rows),
            other.c.param == rows.c.param,
            other.c.value == rows.c.value,
            other.c.last_updated == rows.c.last_updated,
            other.c.system < rows.c.system,
        )
        conditions.append(_one_by_one(~exists().where(again).correlate(rows), rows))
    if filters:
        others = and_(same_resource(resource, rows), *_conditions(type_, filters))
        conditions.append(_one_by_one(exists().where(others).correlate(rows), rows))
    return Source(rows, rows, tuple(conditions), rows.c.last_updated)


def _one_by_one(holds: Condition, of: FromClause) -> Condition:
    """The same, as a question of its own for each candidate.

    PostgreSQL would else join by three columns, expect next to nothing to come of it, and go
    through all there is rather than walk and stop.
    """
    alone: Condition = select(holds).correlate(of).scalar_subquery()
    return alone


def _names_no_system(asked: Filter) -> bool:
    (value,) = asked.values
    return isinstance(value, TokenValue) and value.system is None


def _conditions(
    type_: str, filters: Sequence[Asked], *, alone: Sequence[Asked] = ()
) -> tuple[Condition, ...]:
    """All conditions, some of them as questions of their own."""
    found = ((asked, condition(asked, (type_,))) for asked in filters)
    return (
        resource.c.type == type_,
        *(_one_by_one(holds, resource) if asked in alone else holds for asked, holds in found),
    )


def _elsewhere(filters: Sequence[Asked]) -> list[Asked]:
    """Those that the candidate's own columns do not tell."""
    return [
        asked
        for asked in filters
        if not isinstance(asked, Filter) or is_indexed(asked) or asked.modifier == "missing"
    ]


def _keys(type_: str, asked: Filter | Chain) -> Select[Any]:
    """The bucket and id of all that this one condition leaves."""
    if isinstance(asked, Chain):
        rows: FromClause = search_reference.alias()
        answers = and_(rows.c.param == asked.reference, rows.c.target.in_(names_of_matches(asked)))
    elif is_found_by_index(asked):
        rows, answers = rows_that_answer(asked)
    else:
        rows = resource.alias()
        answers = condition(asked, (type_,), rows)
    return select(rows.c.bucket, rows.c.id).where(rows.c.type == type_, answers)
