"""What a search asks, as conditions on a row of `resource`: by column or by a look into the index.

Each takes the candidate as `of`, the table or an alias of it, and its possible types. Before:
`fhir.search_values`. After: `search_sources`, which chooses where to begin.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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
    Filter,
    Has,
    Kind,
    TokenValue,
)
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.search_comparisons import Condition, answers, changed
from fhir_hub_bridge.store.tables import (
    resource,
    search_date,
    search_reference,
    search_string,
    search_token,
)

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
        or_(*(answers(value, asked.modifier, rows) for value in asked.values)),
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
        rows, answering = rows_that_answer(asked.filter)
    else:
        rows = resource.alias()
        answering = condition(asked.filter, asked.targets, rows)
    return select(reference_to(rows)).where(rows.c.type.in_(asked.targets), answering)


def reference_to(of: FromClause) -> ColumnElement[str]:
    """`Type/id` of a row."""
    name: ColumnElement[str] = of.c.type + "/" + of.c.id
    return name


def same_resource(one: FromClause, other: FromClause) -> Condition:
    """Whether two rows are of the same resource."""
    return and_(*(one.c[name] == other.c[name] for name in ("bucket", "type", "id")))


_OWN: Final = ("_id", "_lastUpdated")  # kept by every row of `resource`


def _holds(asked: Filter, types: Sequence[str], of: FromClause) -> Condition:
    if asked.name == "_id":
        return _has_id(asked, types, of)
    if asked.name == "_lastUpdated":
        return or_(*(changed(value, of.c.last_updated) for value in asked.values))
    if is_indexed(asked):
        rows, answering = rows_that_answer(asked)
        return exists().where(same_resource(rows, of), answering).correlate(of)
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
