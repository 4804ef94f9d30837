"""What of a resource the store indexes, so that searches find it.

Before: `search_parameters`, which says what can be asked. After: the store.
https://hl7.org/fhir/R4/search.html#ptypes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import islice, product
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.search_conversions import (
    CONVERSIONS,
    Conversion,
    comparable,
    fold,
    of_identifier,
)
from fhir_hub_bridge.fhir.search_parameters import ALWAYS_THERE, PARAMETERS, Parameter
from fhir_hub_bridge.fhir.search_paths import Condition, Path, follow
from fhir_hub_bridge.fhir.search_values import IndexValues

MAX_ROWS: Final = 2000
"""How many rows of one kind a resource gets, far above what real ones have."""

MAX_CODINGS: Final = 10
"""How many codings of a component are combined with those of another."""


@dataclass(slots=True)
class _Rows:
    """What has been found so far; dictionaries keep the order and each row once."""

    tokens: dict[tuple[str, str, str], None] = field(default_factory=dict)
    references: dict[tuple[str, str], None] = field(default_factory=dict)
    dates: dict[tuple[str, datetime, datetime], None] = field(default_factory=dict)
    strings: dict[tuple[str, str, str], None] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Way:
    """How to a parameter's values, from the element of the resource that they are in."""

    name: str
    column: str
    steps: tuple[str | Condition, ...]
    convert: Conversion
    add: Callable[[_Rows, _Way, list[Any]], None]


def index_values(resource: Json) -> IndexValues:
    """Extract what the store indexes. Those that refer to what is here do so without our address.

    References to contained resources are left out. A type that cannot be searched has nothing.
    What is beyond 2,000 rows of a kind, or of a composite parameter, is not found by its value; of
    each component of a composite the first 10 codings are.
    """
    kind = resource.get("resourceType", "")
    if kind not in PARAMETERS:
        return IndexValues()
    rows = _Rows()
    ways = _ways(kind)
    for element, value in resource.items():
        for way in ways.get(element, ()):
            start = [v for v in value if v is not None] if isinstance(value, list) else [value]
            if found := follow(way.steps, start):
                way.add(rows, way, found)
    composites = dict.fromkeys(_composites(kind, resource))
    return IndexValues(
        (*islice(rows.tokens, MAX_ROWS), *composites),
        tuple(islice(rows.references, MAX_ROWS)),
        tuple(islice(rows.dates, MAX_ROWS)),
        tuple(islice(rows.strings, MAX_ROWS)),
        **rows.columns,
    )


def _add_tokens(rows: _Rows, way: _Way, found: list[Any]) -> None:
    for value in found:
        for system, code in way.convert(value):
            if way.column:
                rows.columns[way.column] = code
            else:
                rows.tokens[way.name, system, code] = None


def _add_references(rows: _Rows, way: _Way, found: list[Any]) -> None:
    for value in found:
        if identifier := value.get("identifier"):
            for system, code in of_identifier(identifier):
                rows.tokens[f"{way.name}:identifier", system, code] = None
        text = value.get("reference")
        if not text or text.startswith("#"):
            continue
        if way.column:
            rows.columns[way.column] = comparable(text, ())
        else:
            rows.references[way.name, comparable(text, ())] = None


def _add_canonicals(rows: _Rows, way: _Way, found: list[Any]) -> None:
    for value in found:
        for url in way.convert(value):
            rows.references[way.name, url] = None


def _add_dates(rows: _Rows, way: _Way, found: list[Any]) -> None:
    for value in found:
        for lower, upper in way.convert(value):
            rows.dates[way.name, lower, upper] = None


def _add_strings(rows: _Rows, way: _Way, found: list[Any]) -> None:
    for value in found:
        for text in way.convert(value):
            rows.strings[way.name, fold(text), text] = None


def _add_uris(rows: _Rows, way: _Way, found: list[Any]) -> None:
    for value in found:
        for url in way.convert(value):
            rows.tokens[way.name, "", url] = None


_ADD: Final[Mapping[str, Callable[[_Rows, _Way, list[Any]], None]]] = {
    "token": _add_tokens,
    "reference": _add_canonicals,
    "date": _add_dates,
    "string": _add_strings,
    "uri": _add_uris,
}


@cache
def _ways(kind: str) -> Mapping[str, tuple[_Way, ...]]:
    ways: dict[str, tuple[_Way, ...]] = {}
    for parameter in PARAMETERS[kind].values():
        if parameter.kind == "composite" or parameter.name in ALWAYS_THERE:
            continue
        for path in parameter.paths:
            first, *steps = path.steps
            convert = CONVERSIONS[parameter.kind][path.type]
            add = _add_references if path.type == "Reference" else _ADD[parameter.kind]
            way = _Way(parameter.name, parameter.column, tuple(steps), convert, add)
            ways[str(first)] = (*ways.get(str(first), ()), way)
    return ways


def _composites(kind: str, resource: Json) -> Iterator[tuple[str, str, str]]:
    for parameter in _composite_parameters(kind):
        yield from islice(_rows_of_composite(parameter, resource), MAX_ROWS)


def _rows_of_composite(parameter: Parameter, resource: Json) -> Iterator[tuple[str, str, str]]:
    for start in parameter.paths:
        for element in start.values(resource):
            for parts in product(*(_spellings(paths, element) for paths in parameter.components)):
                yield parameter.name, "", "$".join(parts)


@cache
def _composite_parameters(kind: str) -> tuple[Parameter, ...]:
    return tuple(found for found in PARAMETERS[kind].values() if found.kind == "composite")


def _spellings(paths: tuple[Path, ...], element: Json) -> list[str]:
    """Each token of a component in both ways it may be asked for; of the first few tokens only."""
    conversions = CONVERSIONS["token"]
    tokens = (
        token
        for path in paths
        for value in path.values(element)
        for token in conversions[path.type](value)
    )
    return [
        spelling
        for system, code in islice(tokens, MAX_CODINGS)
        for spelling in (f"{system}|{code}", code)
    ]
