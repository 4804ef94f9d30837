"""One value asked for, compared with what an index table holds.

Before: `fhir.search_values`. After: `search_conditions`.
https://hl7.org/fhir/R4/search.html#ptypes
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, FromClause, and_, not_, or_

from fhir_hub_bridge.fhir.search_values import (
    CompositeValue,
    DateValue,
    StringValue,
    TokenValue,
)
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.search_index import bounded, head

Condition: TypeAlias = ColumnElement[bool]


def answers(value: Any, modifier: str, rows: FromClause) -> Condition:
    """Whether a row of an index table answers one value asked for."""
    match value:
        case TokenValue():
            parts: list[Condition] = []
            if value.code is not None:
                parts.append(rows.c.value == bounded(value.code))
            if value.system is not None:
                parts.append(rows.c.system == bounded(value.system))
            return and_(*parts)
        case CompositeValue():
            return rows.c.value == bounded("$".join(value.parts))
        case DateValue():
            return _lies(value, rows.c.lower, rows.c.upper)
        case StringValue():
            return _reads(value, modifier, rows)
        case _:
            column = rows.c.target if "target" in rows.c else rows.c.value
            same: Condition = column == bounded(value)
            return same


def changed(value: DateValue, at: ColumnElement[int]) -> Condition:
    """Whether an instant, which has no width, lies as asked; said so that its index serves."""
    lower, upper = to_micros(value.lower), to_micros(value.upper)
    match value.prefix:
        case "eq" | "ap":
            return and_(at >= lower, at < upper)
        case "ne":
            return or_(at < lower, at >= upper)
        case "gt" | "sa":
            return at >= upper
        case "lt" | "eb":
            return at < lower
        case "ge":
            return at >= lower
        case "le":
            return at < upper


_LAST_LETTER: Final = "\U0010ffff"


def _lies(value: DateValue, start: ColumnElement[int], end: ColumnElement[int]) -> Condition:
    """How the interval from `start` to `end` lies to the asked one."""
    lower, upper = to_micros(value.lower), to_micros(value.upper)
    inside = and_(start >= lower, start < upper, end <= upper)
    match value.prefix:
        case "eq":
            return inside
        case "ne":
            return not_(inside)
        case "gt":
            return end > upper
        case "lt":
            return start < lower
        case "ge":
            return or_(end > upper, inside)
        case "le":
            return or_(start < lower, inside)
        case "sa":
            return start >= upper
        case "eb":
            return end <= lower
        case "ap":
            return and_(start < upper, end > lower)


def _reads(value: StringValue, modifier: str, rows: FromClause) -> Condition:
    folded = head(value.folded)
    if modifier == "exact":
        return and_(rows.c.folded == folded, rows.c.exact == value.exact)
    if modifier == "contains":
        return rows.c.folded.contains(folded, autoescape=True)
    return and_(rows.c.folded >= folded, rows.c.folded < folded + _LAST_LETTER)
