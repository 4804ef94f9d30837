"""What a search asks: its parameters read, its values made ready to compare.

Values come out ready to compare: references as local strings, dates as half-open UTC intervals.
Before: `search_parameters`, the registry. After: the store's statements.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.dates import search_span
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.fhir.search_parameters import (
    PARAMETERS,
    IndexValues,
    Kind,
    Pair,
    Parameter,
    comparable,
    index_values,
)

__all__ = [
    "PARAMETERS",
    "DateValue",
    "Filter",
    "IndexValues",
    "Parameter",
    "Query",
    "TokenValue",
    "index_values",
    "parse_query",
]


@dataclass(frozen=True, slots=True)
class TokenValue:
    """A token asked for: None means any, an empty system means none at all."""

    system: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class DateValue:
    """lower <= instant < upper, None being open; with `negated`, everything else."""

    lower: datetime | None
    upper: datetime | None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter of a query; a match of any value suffices, all filters must match.

    `values` holds TokenValue for a token, local reference strings (or absolute ones of others) for
    a reference, DateValue for a date, str for a uri. With `modifier` `missing` it holds one bool;
    with `not` no value may match, and a resource without the element does match.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...]
    modifier: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks. `applied` are the pairs that were used, for the `self` link."""

    type: str
    filters: tuple[Filter, ...] = ()
    count: int | None = None
    sort: Literal["", "_lastUpdated", "-_lastUpdated"] = ""
    total: Literal["", "none", "estimate", "accurate"] = ""
    summary_count: bool = False
    format: str = ""
    applied: tuple[Pair, ...] = ()
    unknown: tuple[str, ...] = ()


MAX_VALUES: Final = 500
CONTROL: Final = ("_count", "_sort", "_format", "_pretty", "_total", "_summary")


def parse_query(type: str, pairs: Iterable[Pair], *, bases: Collection[str] = ()) -> Query:  # noqa: A002
    """Read a search's decoded (name, value) pairs; `bases` are our own absolute addresses.

    Commas are OR (`\\,` is a comma), repetition is AND. Unknown names are collected for the caller
    to warn of or refuse. Raises ResourceRejected (code `value`, rule `search-parameter`) for an
    empty or malformed value and for a modifier that we cannot answer.
    """
    known = PARAMETERS.get(type)
    if known is None:
        _refuse(type, f"{type} cannot be searched here.")
    filters: list[Filter] = []
    control: dict[str, str] = {}
    applied: list[Pair] = []
    unknown: list[str] = []
    for full_name, text in pairs:
        name, _, modifier = full_name.partition(":")
        if name in CONTROL and not modifier:
            if name in control:
                _refuse(name, f"{name} may be given once.")
            control[name] = text
        elif name in known:
            filters.append(_read_filter(known[name], modifier, text, bases))
        else:
            unknown.append(full_name)
            continue
        applied.append((full_name, text))
    if sum(len(asked.values) for asked in filters) > MAX_VALUES:
        _refuse(type, f"A search may hold at most {MAX_VALUES} values.")
    return Query(
        type,
        tuple(filters),
        count=_read_count(control),
        sort=_one_of(control, "_sort", ("_lastUpdated", "-_lastUpdated")),
        total=_one_of(control, "_total", ("none", "estimate", "accurate")),
        summary_count=_one_of(control, "_summary", ("count", "false")) == "count",
        format=control.get("_format", ""),
        applied=tuple(applied),
        unknown=tuple(unknown),
    )


def _read_filter(parameter: Parameter, modifier: str, text: str, bases: Collection[str]) -> Filter:
    name, kind = parameter.name, parameter.kind
    if modifier in parameter.targets:
        parts = [f"{modifier}/{part.removeprefix(f'{modifier}/')}" for part in _split(text, ",")]
        modifier = ""
    elif modifier and modifier not in parameter.modifiers:
        _refuse(name, f"{name} cannot be searched with this modifier.")
    else:
        parts = _split(text, ",")
    if not all(parts):
        _refuse(name, f"{name} has an empty value.")
    if modifier == "missing":
        if parts not in (["true"], ["false"]):
            _refuse(name, f"{name}:missing is true or false.")
        return Filter(name, kind, (parts == ["true"],), "missing")
    values: list[Any] = []
    for part in parts:
        match kind:
            case "token":
                values.append(_read_token(parameter, part))
            case "reference":
                values.extend(_read_reference(parameter, _unescape(part), bases))
            case "date":
                values.append(_read_date(name, part))
            case _:
                values.append(_unversioned(_unescape(part)))
    # `subject` asks the same column; both are Task.for and ServiceRequest.subject.
    return Filter("patient" if name == "subject" else name, kind, tuple(values), modifier)


def _split(text: str, mark: str) -> list[str]:
    """Split at unescaped marks, leaving the escapes in place."""
    parts, current, escaped = [], "", False
    for character in text:
        if character == mark and not escaped:
            parts.append(current)
            current = ""
            continue
        escaped = character == "\\" and not escaped
        current += character
    return [*parts, current]


def _unescape(text: str) -> str:
    out, escaped = "", False
    for character in text:
        if character == "\\" and not escaped:
            escaped = True
            continue
        out += character if not escaped or character in ",|$\\" else f"\\{character}"
        escaped = False
    return out + ("\\" if escaped else "")


def _read_token(parameter: Parameter, text: str) -> TokenValue:
    name = parameter.name
    parts = [_unescape(part) for part in _split(text, "|")]
    if len(parts) > 2 or not any(parts):
        _refuse(name, f"{name} takes code, system|code, |code or system|.")
    system, code = (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if name not in ("_id", "status"):
        return TokenValue(system, code or None)
    # An id and a code element carry no system, so only the one that goes without saying fits.
    if not code or system not in (None, "", parameter.system):
        _refuse(name, f"{name} has no codes of this system.")
    return TokenValue(None, code)


def _read_reference(parameter: Parameter, text: str, bases: Collection[str]) -> list[str]:
    name = parameter.name
    if "/" not in text:
        candidates = [f"{target}/{text}" for target in parameter.targets]
        if all(parse_reference(candidate) for candidate in candidates):
            return candidates
    reference = parse_reference(text)
    if reference is None or not reference.type:
        _refuse(name, f"{name} takes an id, Type/id or an absolute URL of a resource.")
    if name == "patient" and reference.type != "Patient":
        _refuse(name, "patient takes a Patient.")
    return [comparable(text, bases)]


def _read_date(name: str, text: str) -> DateValue:
    prefix, rest = (text[:2], text[2:]) if text[:2] in _DATE_BOUNDS else ("eq", text)
    span = search_span(rest)
    if span is None:
        _refuse(
            name,
            f"{name} takes a FHIR date or dateTime after one of {', '.join(_DATE_BOUNDS)};"
            " in a URL the + of a time zone is %2B.",
        )
    return _DATE_BOUNDS[prefix](*span)


# An instant has no width, so that `gt` and `sa`, `lt` and `eb` ask the same of it.
_DATE_BOUNDS: Final[Mapping[str, Callable[[datetime, datetime], DateValue]]] = MappingProxyType(
    {
        "eq": DateValue,
        "ne": lambda start, end: DateValue(start, end, negated=True),
        "gt": lambda _, end: DateValue(end, None),
        "sa": lambda _, end: DateValue(end, None),
        "ge": lambda start, _: DateValue(start, None),
        "lt": lambda start, _: DateValue(None, start),
        "eb": lambda start, _: DateValue(None, start),
        "le": lambda _, end: DateValue(None, end),
    }
)


def _unversioned(url: str) -> str:
    return url.split("|", 1)[0]


def _read_count(control: Mapping[str, str]) -> int | None:
    text = control.get("_count")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        _refuse("_count", "_count takes a whole number.")
    return int(text)


def _one_of(control: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> Any:
    text = control.get(name, "")
    if name in control and text not in allowed:
        _refuse(name, f"{name} takes one of {', '.join(allowed)}.")
    return text


def _refuse(name: str, message: str) -> NoReturn:
    issue = Issue(name, message, code="value", rule="search-parameter")
    raise ResourceRejected(issues=[issue])
