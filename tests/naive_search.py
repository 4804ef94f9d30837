"""A search as the standard says it, over resources in memory: slow, and plain enough to trust."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cmp_to_key
from typing import Any

from fhir_hub_bridge.fhir.search import Chain, Filter, Has, Query, SortKey, index_values
from fhir_hub_bridge.fhir.search_values import (
    CompositeValue,
    DateValue,
    IndexValues,
    StringValue,
    TokenValue,
)

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Kept:
    """A resource and when it was stored."""

    resource: dict[str, Any]
    at: datetime

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.resource["id"])

    @property
    def type(self) -> str:
        """Its type."""
        return str(self.resource["resourceType"])

    @property
    def reference(self) -> str:
        """How others name it."""
        return f"{self.type}/{self.id}"

    @property
    def values(self) -> IndexValues:
        """What it is found by."""
        return index_values(self.resource)


def found(query: Query, kept: Sequence[Kept]) -> list[str]:
    """The ids of all that match, in order."""
    matching = [
        one
        for one in kept
        if one.type == query.type and all(matches(one, asked, kept) for asked in query.filters)
    ]
    return [one.id for one in sorted(matching, key=cmp_to_key(_by(query.sort)))]


def matches(one: Kept, asked: Filter | Chain | Has, kept: Sequence[Kept]) -> bool:
    """Whether it is what is asked for."""
    match asked:
        case Chain():
            named = set(_references(one, asked.reference, asked.column))
            return any(
                other.reference in named and matches(other, asked.filter, kept)
                for other in kept
                if other.type in asked.targets
            )
        case Has():
            return any(
                one.reference in _references(other, asked.reference, asked.column)
                and matches(other, asked.filter, kept)
                for other in kept
                if other.type == asked.type
            )
        case Filter(modifier="missing"):
            own = [*_own(one, asked), *_own(one, asked, suffix=":identifier")]
            return (not own) == asked.values[0]
        case Filter(modifier="identifier"):
            own = _own(one, asked, suffix=":identifier")
            return any(_answers(value, found, "") for value in asked.values for found in own)
        case Filter(modifier="not"):
            return not any(
                _answers(v, found, "") for v in asked.values for found in _own(one, asked)
            )
        case _:
            return any(
                _answers(value, found, asked.modifier)
                for value in asked.values
                for found in _own(one, asked)
            )


def _references(one: Kept, name: str, column: str) -> list[str]:
    if column:
        return [value for value in [getattr(one.values, column)] if value]
    return [target for param, target in one.values.references if param == name]


def _own(one: Kept, asked: Filter, *, suffix: str = "") -> list[tuple[Any, ...]]:
    """The resource's own values of a parameter."""
    values, name = one.values, asked.name + suffix
    if name == "_id":
        return [("", one.id)]
    if name == "_lastUpdated":
        return [(one.at, one.at + _TICK)]
    if asked.column and not suffix:
        column = getattr(values, asked.column)
        return [("", column)] if asked.kind == "token" and column else [(column,)] * bool(column)
    rows: Iterable[tuple[Any, ...]]
    match "token" if suffix else asked.kind:
        case "reference":
            rows = values.references
        case "date":
            rows = values.dates
        case "string":
            rows = values.strings
        case _:
            rows = values.tokens
    return [row[1:] for row in rows if row[0] == name]


def _answers(value: Any, own: tuple[Any, ...], modifier: str) -> bool:
    match value:
        case TokenValue(system, code):
            return system in (None, own[0]) and code in (None, own[1])
        case CompositeValue(parts):
            return bool(own[1] == "$".join(parts))
        case DateValue():
            return _lies(value, *own)
        case StringValue():
            folded, exact = own
            if modifier == "exact":
                return bool(exact == value.exact)
            if modifier == "contains":
                return value.folded in folded
            return bool(folded.startswith(value.folded))
        case _:
            return bool(value == own[-1])


def _lies(value: DateValue, lower: datetime, upper: datetime) -> bool:
    inside = value.lower <= lower and upper <= value.upper
    return {
        "eq": inside,
        "ne": not inside,
        "gt": upper > value.upper,
        "lt": lower < value.lower,
        "ge": upper > value.upper or inside,
        "le": lower < value.lower or inside,
        "sa": lower >= value.upper,
        "eb": upper <= value.lower,
        "ap": lower < value.upper and upper > value.lower,
    }[value.prefix]


def _by(sort: Sequence[SortKey]) -> Any:
    def compare(one: Kept, other: Kept) -> int:
        for key in sort:
            mine, theirs = _sort_value(one, key), _sort_value(other, key)
            if mine == theirs:
                continue
            if mine is None or theirs is None:
                return 1 if mine is None else -1
            return (1 if mine > theirs else -1) * (-1 if key.descending else 1)
        times = [key for key in sort if key.name == "_lastUpdated"]
        rising = bool(times) and not times[0].descending
        order = 1 if (one.at, one.id) > (other.at, other.id) else -1
        return order if rising else -order

    return compare


def _sort_value(one: Kept, key: SortKey) -> Any:
    if key.name == "_lastUpdated":
        return one.at
    own = _own(one, Filter(key.name, key.kind, (), column=key.column))
    place = {"token": 1, "uri": 1, "reference": 0, "date": 0, "string": 0}[key.kind]
    values = [row[place] for row in own]
    return (max(values) if key.descending else min(values)) if values else None
