"""What a page of a search is to bring along: what its matches name, and what names them.

Forward it is read from the bodies at hand, backward from the index. Before: `resource_search`.
https://hl7.org/fhir/R4/search.html#include
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, or_, select, union

from fhir_hub_bridge.fhir.codec import parse_json
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.fhir.search import PARAMETERS, Include, index_values
from fhir_hub_bridge.store.resources import Stored, read_many, stored_of
from fhir_hub_bridge.store.search_conditions import same_resource
from fhir_hub_bridge.store.tables import resource, search_reference

ROUNDS: Final = 3
MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Included:
    """What comes along, each once and none a match; `cut` when there would have been more."""

    resources: tuple[Stored, ...] = ()
    cut: bool = False


NOTHING: Final = Included()


def included(conn: Connection, includes: Sequence[Include], matches: Sequence[Stored]) -> Included:
    """What these matches bring along: `:iterate` up to three rounds, never over 1,000 resources.

    At most two statements a round, however many includes there are.
    """
    seen = {match.reference for match in matches}
    found: list[Stored] = []
    latest: Sequence[Stored] = matches
    cut = False
    for number in range(ROUNDS):
        asked = [include for include in includes if include.iterate or not number]
        if not asked or not latest:
            break
        fresh = {
            stored.reference: stored
            for stored in (*_named(conn, asked, latest, seen), *_naming(conn, asked, latest, seen))
            if stored.reference not in seen
        }
        latest = list(fresh.values())[: MOST - len(found)]
        cut = cut or len(latest) < len(fresh)
        found += latest
        seen |= fresh.keys()
    return Included(tuple(found), cut)


_COLUMNS: Final = ("owner", "requester", "patient")


def _named(
    conn: Connection, includes: Sequence[Include], sources: Sequence[Stored], seen: set[str]
) -> Iterable[Stored]:
    """What the sources refer to."""
    forward = [include for include in includes if not include.reverse]
    wanted: dict[str, tuple[str, str]] = {}
    for source in sources:
        asked = [include for include in forward if include.source == source.type]
        if not asked:
            continue
        for target in _targets(source, asked):
            reference = parse_reference(target)
            if reference and reference.base is None and reference.type and target not in seen:
                wanted[target] = (reference.type, reference.id)
    return read_many(conn, list(wanted.values())[: MOST + 1]).values()


def _targets(source: Stored, asked: Sequence[Include]) -> Iterator[str]:
    values = index_values(parse_json(source.body))
    columns = [(name, getattr(values, name)) for name in _COLUMNS]
    for include in asked:
        every = include.parameter == "*"
        for name, target in values.references:
            if every or name == include.parameter:
                yield from _of_type(target, include.target)
        for name, target in columns:
            if target and (every or name == include.column):
                yield from _of_type(target, include.target)


def _of_type(target: str, type_: str) -> Iterator[str]:
    if not type_ or target.startswith(f"{type_}/"):
        yield target


def _naming(
    conn: Connection, includes: Sequence[Include], targets: Sequence[Stored], seen: set[str]
) -> Iterable[Stored]:
    """What refers to the targets."""
    ways: list[Select[Any]] = []
    for include in includes:
        references = [
            target.reference
            for target in targets
            if include.reverse and include.target in ("", target.type)
        ]
        if references:
            ways += _ways(include, references)
    if not ways:
        return []
    keys = union(*ways).limit(MOST + 1 + len(seen)).subquery()
    rows = conn.execute(select(resource).join(keys, same_resource(resource, keys)))
    return [stored_of(row) for row in rows.mappings()]


def _ways(include: Include, references: Sequence[str]) -> Iterator[Select[Any]]:
    """The keys of what refers by this parameter: from the index, from a column, or both."""
    names, columns = [include.parameter], [include.column] if include.column else []
    if include.parameter == "*":
        known: Mapping[str, Any] = PARAMETERS.get(include.source, {})
        kept = [parameter for parameter in known.values() if parameter.kind == "reference"]
        names = [parameter.name for parameter in kept if not parameter.column]
        columns = sorted({parameter.column for parameter in kept if parameter.column})
    if columns:
        by_column = or_(*(resource.c[column].in_(references) for column in columns))
        key = [resource.c[name] for name in _KEY]
        yield select(*key).where(resource.c.type == include.source, by_column)
    if names and not (columns and include.parameter != "*"):
        rows = search_reference.c
        named = and_(rows.param.in_(names), rows.target.in_(references))
        yield select(*(rows[name] for name in _KEY)).where(rows.type == include.source, named)


_KEY: Final = ("bucket", "type", "id")
