"""The values of a search, read by the kind of their parameter.

`search` cuts a query into parameters and hands each one's text to `read_filter`.
https://hl7.org/fhir/R4/search.html#ptypes
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NoReturn, cast, get_args

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.dates import search_span
from fhir_hub_bridge.fhir.search_conversions import comparable, fold, unversioned
from fhir_hub_bridge.fhir.search_parameters import Parameter
from fhir_hub_bridge.fhir.search_paths import parsed_reference
from fhir_hub_bridge.fhir.search_values import (
    FAR_FUTURE,
    FAR_PAST,
    CompositeValue,
    DateValue,
    Filter,
    Modifier,
    Prefix,
    StringValue,
    TokenValue,
)


def read_filter(parameter: Parameter, modifier: str, text: str, bases: Collection[str]) -> Filter:
    """Read what one parameter is asked to be: commas are OR, `\\,` is a comma.

    `bases` are our own addresses without a slash at the end. Raises ResourceRejected as
    `refuse_search` does for a value or a modifier that cannot be answered.
    """
    name = parameter.name
    parts = split_values(text)
    if not all(parts):
        refuse_search(name, f"{name} has an empty value.")
    if modifier in parameter.targets:
        parts = [part if "/" in part else f"{modifier}/{part}" for part in parts]
        if any(_type_of(unescape(part)) != modifier for part in parts):
            refuse_search(name, f"{name} takes an id, Type/id or URL of the type it names.")
        modifier = ""
    if modifier and modifier not in parameter.modifiers:
        refuse_search(name, f"{name} cannot be searched with this modifier.")
    if modifier == "missing":
        if parts not in (["true"], ["false"]):
            refuse_search(name, f"{name}:missing is true or false.")
        return Filter(name, parameter.kind, (parts == ["true"],), "missing", parameter.column)
    if modifier == "identifier":
        tokens = tuple(_token(name, part) for part in parts)
        return Filter(name, parameter.kind, tokens, "identifier")
    read = _READERS[parameter.kind]
    values = tuple(value for part in parts for value in read(parameter, part, bases))
    if modifier != "exact" and any(isinstance(v, StringValue) and not v.folded for v in values):
        refuse_search(name, f"{name} needs a letter or digit to look for.")
    return Filter(name, parameter.kind, values, cast(Modifier, modifier), parameter.column)


def split_values(text: str, mark: str = ",") -> list[str]:
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


def unescape(text: str) -> str:
    """Take the backslash from an escaped comma, bar, dollar sign or backslash."""
    out, escaped = "", False
    for character in text:
        if character == "\\" and not escaped:
            escaped = True
            continue
        out += character if not escaped or character in ",|$\\" else f"\\{character}"
        escaped = False
    return out + ("\\" if escaped else "")


def refuse_search(name: str, message: str) -> NoReturn:
    """Raise ResourceRejected (code `value`, rule `search-parameter`) at a parameter's name."""
    issue = Issue(name, message, code="value", rule="search-parameter")
    raise ResourceRejected(issues=[issue])


_PREFIXES: Final = get_args(Prefix)


def _token(name: str, text: str) -> TokenValue:
    parts = [unescape(part) for part in split_values(text, "|")]
    if len(parts) > 2 or not any(parts):
        refuse_search(name, f"{name} takes code, system|code, |code or system|.")
    system, code = (None, parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    return TokenValue(system, code or None)


def _read_token(parameter: Parameter, text: str, _: Collection[str]) -> list[TokenValue]:
    name, value = parameter.name, _token(parameter.name, text)
    has_one_place = bool(parameter.column) or name == "_id"
    if not (parameter.system or has_one_place):
        return [value]
    # A code element and an id carry no system, so only the one that goes without saying fits.
    if value.code is None:
        refuse_search(name, f"{name} takes a code.")
    if value.system in ("", parameter.system):
        return [TokenValue(None, value.code)]
    if has_one_place and value.system is not None:
        refuse_search(name, f"{name} has no codes of this system.")
    return [value]


def _read_composite(parameter: Parameter, text: str, _: Collection[str]) -> list[CompositeValue]:
    name, count = parameter.name, len(parameter.components)
    tokens = [_token(name, part) for part in split_values(text, "$")]
    if len(tokens) != count or any(token.code is None for token in tokens):
        refuse_search(name, f"{name} takes {count} codes with a $ between them.")
    spelled = (t.code if t.system is None else f"{t.system}|{t.code}" for t in tokens)
    return [CompositeValue(tuple(str(part) for part in spelled))]


def _read_reference(parameter: Parameter, text: str, bases: Collection[str]) -> list[str]:
    name, text = parameter.name, unescape(text)
    if parameter.is_canonical:
        return [unversioned(text)]
    if "/" not in text:
        candidates = [f"{target}/{text}" for target in parameter.targets]
        if candidates and all(_type_of(candidate) for candidate in candidates):
            return candidates
    named = _type_of(text)
    if not named:
        refuse_search(name, f"{name} takes an id, Type/id or an absolute URL of a resource.")
    if name == "patient" and named != "Patient":
        refuse_search(name, "patient takes a Patient.")
    return [comparable(text, bases)]


def _type_of(text: str) -> str:
    reference = parsed_reference(text)
    return reference.type if reference is not None else ""


def _read_date(parameter: Parameter, text: str, _: Collection[str]) -> list[DateValue]:
    name, prefix, rest = parameter.name, "eq", unescape(text)
    if rest[:2] in _PREFIXES:
        prefix, rest = rest[:2], rest[2:]
    span = search_span(rest)
    if span is None:
        refuse_search(
            name,
            f"{name} takes a FHIR date or dateTime after one of {', '.join(_PREFIXES)};"
            " in a URL the + of a time zone is %2B.",
        )
    if prefix == "ap":
        span = _widened(*span, written=len(rest))
    return [DateValue(cast(Prefix, prefix), *span)]


def _widened(lower: datetime, upper: datetime, *, written: int) -> tuple[datetime, datetime]:
    """Widen by a year (YYYY), a month (YYYY-MM) or else a day on either side."""
    if written in (4, 7):
        months = 12 if written == 4 else 1
        return _months_on(lower, -months), _months_on(upper, months)
    day = timedelta(days=1)
    return (
        lower - day if lower - FAR_PAST > day else FAR_PAST,
        upper + day if FAR_FUTURE - upper > day else FAR_FUTURE,
    )


def _months_on(first: datetime, months: int) -> datetime:
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    if year < 1:
        return FAR_PAST
    return first.replace(year=year, month=month + 1) if year <= 9999 else FAR_FUTURE


def _read_string(_: Parameter, text: str, __: Collection[str]) -> list[StringValue]:
    exact = unescape(text)
    return [StringValue(fold(exact), exact)]


def _read_uri(_: Parameter, text: str, __: Collection[str]) -> list[str]:
    return [unversioned(unescape(text))]


_Reader = Callable[[Parameter, str, Collection[str]], list[Any]]
_READERS: Final[Mapping[str, _Reader]] = MappingProxyType(
    {
        "token": _read_token,
        "composite": _read_composite,
        "reference": _read_reference,
        "date": _read_date,
        "string": _read_string,
        "uri": _read_uri,
    }
)
