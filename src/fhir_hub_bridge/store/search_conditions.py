"""What a search asks, as conditions on a row of `resource`: by column or by a look into the index.

Each takes the candidate as `of`, the table or an alias of it, and its possible types. Before:
`fhir.search_values`. After: `search_sources`, which chooses where to begin.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    exists,
    false,
    not_,
    or_,
    select,
)

from fhir_hub_bridge.fhir.search_values import (
    Chain,
    CompositeValue,
    DateValue,
    Filter,
    Has,
    Kind,
    StringValue,
    TokenValue,
)
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.search_index import bounded, head
from fhir_hub_bridge.store.tables import (
    resource,
    search_date,
    search_reference,
    search_string,
    search_token,
)

Condition: TypeAlias = ColumnElement[bool]

TABLE_OF: Final[dict[Kind, Table]] = {
    "token": search_token,
    "uri": search_token,
    "composite": search_token,
    "reference": search_reference,
    "date": search_date,
    "string": search_string,
}


def condition(
    asked: Filter | Chain | Has, types: Sequence[str], of: FromClause = resource
) -> Condition:
    """Whether the candidate, of one of `types`, is what is asked for."""
    match asked:
        case Chain():
            return _names_a_match(asked, of)
        case Has():
            return _is_named_by_a_match(asked, of)
        case _ if asked.modifier == "missing":
            is_there = _has_any(asked, of)
            return not_(is_there) if asked.values[0] else is_there
        case _ if asked.modifier == "not":
            return not_(_holds(asked, types, of))
        case _:
            return _holds(asked, types, of)


def rows_that_answer(asked: Filter) -> tuple[FromClause, Condition]:
    """An alias of the index table that holds this parameter, and which of its rows answer."""
    if asked.modifier == "identifier":
        rows: FromClause = search_token.alias()
        named = f"{asked.name}:identifier"
    else:
        rows, named = TABLE_OF[asked.kind].alias(), asked.name
    return rows, and_(
        rows.c.param == named,
        or_(*(_answers(value, asked.modifier, rows) for value in asked.values)),
    )


def is_indexed(asked: Filter) -> bool:
    """Whether rows of the index answer it, rather than the resource's own columns."""
    in_column = bool(asked.column) and asked.modifier != "identifier"
    return asked.name not in _OWN and not in_column


def is_found_by_index(asked: Filter) -> bool:
    """Whether every match has a row of the index that answers."""
    return is_indexed(asked) and asked.modifier not in ("missing", "not")


def names_of_matches(asked: Chain) -> Select[Any]:
    """The references `Type/id` to what the filter of a chain matches."""
    if is_found_by_index(asked.filter):
        rows, answers = rows_that_answer(asked.filter)
    else:
        rows = resource.alias()
        answers = condition(asked.filter, asked.targets, rows)
    return select(reference_to(rows)).where(rows.c.type.in_(asked.targets), answers)


def reference_to(of: FromClause) -> ColumnElement[str]:
    """`Type/id` of a row."""
    name: ColumnElement[str] = of.c.type + "/" + of.c.id
    return name


def same_resource(one: FromClause, other: FromClause) -> Condition:
    """Whether two rows are of the same resource."""
    return and_(*(one.c[name] == other.c[name] for name in ("bucket", "type", "id")))


_OWN: Final = ("_id", "_lastUpdated")  # kept by every row of `resource`
_LAST_LETTER: Final = "\U0010ffff"


def _holds(asked: Filter, types: Sequence[str], of: FromClause) -> Condition:
    if asked.name == "_id":
        return _has_id(asked, types, of)
    if asked.name == "_lastUpdated":
        return or_(*(_changed(value, of.c.last_updated) for value in asked.values))
    if is_indexed(asked):
        rows, answers = rows_that_answer(asked)
        return exists().where(same_resource(rows, of), answers).correlate(of)
    values = [value.code if isinstance(value, TokenValue) else value for value in asked.values]
    column = of.c[asked.column]
    return and_(column.is_not(None), column.in_([value for value in values if value]))


def _has_id(asked: Filter, types: Sequence[str], of: FromClause) -> Condition:
    ids = [value.code for value in asked.values if value.code and not value.system]
    # The bucket is known from the id; each alternative is then one look into the primary key.
    places = [
        and_(of.c.bucket == bucket_of(type_, id_), of.c.type == type_, of.c.id == id_)
        for type_ in types
        for id_ in ids
    ]
    return or_(*places) if places else false()


def _has_any(asked: Filter, of: FromClause) -> Condition:
    """Whether the candidate has the element at all; a reference may be an identifier alone."""
    if asked.name in _OWN:
        return of.c.id.is_not(None)
    rows = TABLE_OF[asked.kind].alias()
    there = of.c[asked.column].is_not(None) if asked.column else _has_rows(rows, asked.name, of)
    if asked.kind != "reference":
        return there
    return or_(there, _has_rows(search_token.alias(), f"{asked.name}:identifier", of))


def _has_rows(rows: FromClause, param: str, of: FromClause) -> Condition:
    return exists().where(same_resource(rows, of), rows.c.param == param).correlate(of)


def _names_a_match(asked: Chain, of: FromClause) -> Condition:
    matches = names_of_matches(asked)
    if asked.column:
        return of.c[asked.column].in_(matches)
    rows = search_reference.alias()
    named = and_(rows.c.param == asked.reference, rows.c.target.in_(matches))
    return exists().where(same_resource(rows, of), named).correlate(of)


def _is_named_by_a_match(asked: Has, of: FromClause) -> Condition:
    other = resource.alias()
    matches = and_(other.c.type == asked.type, condition(asked.filter, (asked.type,), other))
    if asked.column:
        named = other.c[asked.column] == reference_to(of)
        return exists().where(named, matches).correlate(of)
    rows = search_reference.alias()
    named = and_(
        rows.c.type == asked.type,
        rows.c.param == asked.reference,
        rows.c.target == reference_to(of),
    )
    return exists().where(named, same_resource(rows, other), matches).correlate(of)


def _answers(value: Any, modifier: str, rows: FromClause) -> Condition:
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
            answers: Condition = column == bounded(value)
            return answers


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


def _changed(value: DateValue, at: ColumnElement[int]) -> Condition:
    """The same for an instant, which has no width; said so that its index serves."""
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


def _reads(value: StringValue, modifier: str, rows: FromClause) -> Condition:
    folded = head(value.folded)
    if modifier == "exact":
        return and_(rows.c.folded == folded, rows.c.exact == value.exact)
    if modifier == "contains":
        return rows.c.folded.contains(folded, autoescape=True)
    return and_(rows.c.folded >= folded, rows.c.folded < folded + _LAST_LETTER)
