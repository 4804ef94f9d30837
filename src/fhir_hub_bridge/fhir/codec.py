"""JSON in and out: bytes become a resource only when every reader would read them the same way.

Numbers with a fraction or exponent keep their text, because FHIR gives precision a meaning.
Before: the client's bytes. After: `validation`, `bundle`. https://hl7.org/fhir/R4/json.html
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn, TypeAlias

import orjson

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.dates import DateSpan, format_instant, parse_date, parse_instant

__all__ = [
    "DateSpan",
    "ExactDecimal",
    "Json",
    "Limits",
    "exact_decimal",
    "format_instant",
    "parse_array",
    "parse_date",
    "parse_instant",
    "parse_json",
    "pretty",
    "to_bytes",
]

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a body may hold before it is refused."""

    size_bytes: int = 5 * 1024 * 1024
    depth: int = 64
    number_digits: int = 4300


DEFAULT_LIMITS: Final = Limits()


class ExactDecimal(Decimal):
    """A decimal that prints the very text it was read from: 72.50, 1e2 and 0.0000001 stay so."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, text: object) -> ExactDecimal:
        """Take a JSON number's text (or, when copied, another such decimal)."""
        self = super().__new__(cls, str(text))
        self._text = str(text)
        return self

    def __str__(self) -> str:
        return self._text

    def __reduce__(self) -> tuple[type[ExactDecimal], tuple[str]]:
        return ExactDecimal, (self._text,)


def parse_json(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Json:
    """Read one JSON object, strictly.

    Refused, each as ResourceRejected with one Issue of code `structure` that names place and rule:
    too large, too deep, a key twice in an object, NaN and infinities, numbers beyond a double's
    range or too long, lone surrogates, NUL, a byte order mark, UTF-16, anything that is not one
    JSON object. No text of the body comes back in a message.
    """
    value = _read(data, limits)
    if not isinstance(value, dict):
        _refuse("json-object", "The body must be one JSON object.")
    return value


def exact_decimal(text: str, limits: Limits = DEFAULT_LIMITS) -> ExactDecimal | None:
    """Read a decimal, or None if it is too long or a double could not hold its size."""
    if len(text) > limits.number_digits:
        return None
    try:
        number = ExactDecimal(text)
    except InvalidOperation:
        return None
    as_double = float(text)
    lost = math.isinf(as_double) or (as_double == 0 and not number.is_zero())
    return None if lost else number


def parse_array(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> list[Any]:
    """Read one JSON array, as strictly as `parse_json` reads an object."""
    value = _read(data, limits)
    if not isinstance(value, list):
        _refuse("json-array", "The body must be one JSON array.")
    return value


def to_bytes(resource: Any) -> bytes:
    """Write compact JSON in insertion order, decimals with their text kept."""
    return _dumps(resource, option=0)


def pretty(resource: Any) -> str:
    """Write JSON for a reader's eye, indented by two."""
    return _dumps(resource, option=orjson.OPT_INDENT_2).decode()


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands in a parsed value where something may not be, so that its path can be told."""

    rule: str
    message: str


_TWICE: Final = _Fault("json-duplicate-key", "An object holds the same key twice.")
_NOT_A_NUMBER: Final = _Fault("json-number", "NaN and infinities are not JSON numbers.")
_NUMBER_RANGE: Final = _Fault("json-number", "A number is too large, too small or too long.")
_NUL: Final = _Fault("json-nul", "A string holds the character NUL.")
_SURROGATE: Final = _Fault("json-surrogate", "A string holds half of a surrogate pair.")
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_COLON_OR_NUL_ESCAPED: Final = re.compile(rb"\\u00(?:3[aA]|00)")
# The closing quote is optional, so that an unclosed string cannot make the scan quadratic.
_STRING_OR_BRACKET: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_ELEMENT_NAME: Final = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")


def _read(data: bytes, limits: Limits) -> Any:
    if len(data) > limits.size_bytes:
        _refuse("body-size", f"The body is larger than {limits.size_bytes} bytes.")
    _check_encoding(data)
    value = _read_fast(data, limits)
    return _read_exactly(data, limits) if value is None else value


def _check_encoding(data: bytes) -> None:
    if data.startswith(_BYTE_ORDER_MARKS):
        _refuse("json-encoding", "The body starts with a byte order mark; send plain UTF-8.")
    if b"\0" in data[:4]:
        _refuse("json-encoding", "The body is not UTF-8; UTF-16 and UTF-32 are not taken.")


def _read_fast(data: bytes, limits: Limits) -> Any:
    """Read by orjson; None when only the exact reader can tell what is wrong, if anything is.

    orjson keeps the last of two equal keys without a word. Every dropped pair takes its colon with
    it, so equal counts of colons before and after prove that none was dropped; an escaped colon
    would upset the count and goes to the exact reader.
    """
    if b"\\" in data and _COLON_OR_NUL_ESCAPED.search(data):
        return None
    try:
        value = orjson.loads(data)
        if orjson.dumps(value).count(b":") != data.count(b":"):
            return None
        has_decimals = _has_floats(value, limits.depth)
        if has_decimals is None:
            return None
        return json.loads(data, parse_float=_decimal_reader(limits)) if has_decimals else value
    except (ValueError, TypeError):
        return None


def _has_floats(value: Any, depth: int) -> bool | None:
    """Whether a value holds numbers whose text orjson has lost; None if it is too deep."""
    found = False
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        below = []
        for node in level:
            for child in node.values() if type(node) is dict else node:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
                elif kind is float:
                    found = True
        if not below:
            return found
        level = below
    return None


def _decimal_reader(limits: Limits) -> Any:
    def read(text: str) -> ExactDecimal:
        number = exact_decimal(text, limits)
        if number is None:
            raise ValueError(_NUMBER_RANGE.message)
        return number

    return read


def _read_exactly(data: bytes, limits: Limits) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("json-encoding", "The body is not UTF-8.", place=f"byte {error.start}")
    # Depth first: the standard library's reader recurses.
    _check_depth(data, limits)
    try:
        value = _exact_decoder(limits).decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        _refuse("json-syntax", "The body is not one well-formed JSON value.", place=place)
    for path, fault in _faults(value, ()):
        _refuse(fault.rule, fault.message, place=_place(value, path))
    return value


def _check_depth(data: bytes, limits: Limits) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(data):
        mark = match[0]
        if mark in (b"{", b"["):
            depth += 1
            if depth > limits.depth:
                message = f"Objects and arrays are nested deeper than {limits.depth}."
                _refuse("json-depth", message, place=f"byte {match.start()}")
        elif mark in (b"}", b"]"):
            depth -= 1


def _exact_decoder(limits: Limits) -> json.JSONDecoder:
    def read_object(pairs: list[tuple[str, Any]]) -> Json:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found[key] = _TWICE
            seen.add(key)
        return found

    def read_int(text: str) -> int | _Fault:
        return int(text) if len(text) <= limits.number_digits else _NUMBER_RANGE

    def read_decimal(text: str) -> Decimal | _Fault:
        number = exact_decimal(text, limits)
        return _NUMBER_RANGE if number is None else number

    return json.JSONDecoder(
        object_pairs_hook=read_object,
        parse_int=read_int,
        parse_float=read_decimal,
        parse_constant=lambda _: _NOT_A_NUMBER,
    )


_Path: TypeAlias = tuple[str | int, ...]


def _faults(value: Any, path: _Path) -> Iterator[tuple[_Path, _Fault]]:
    if isinstance(value, _Fault):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _faults(key, (*path, key))
            yield from _faults(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _faults(child, (*path, index))
    elif isinstance(value, str):
        if "\0" in value:
            yield path, _NUL
        elif any("\ud800" <= character <= "\udfff" for character in value):
            yield path, _SURROGATE


def _place(value: Any, path: _Path) -> str:
    """Write a path in FHIRPath's manner; a step that is no element name shows as `?`."""
    kind = value.get("resourceType") if isinstance(value, dict) else None
    place = kind if isinstance(kind, str) and _ELEMENT_NAME.fullmatch(kind) else "$this"
    for step in path:
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            place += f".{step}" if _ELEMENT_NAME.fullmatch(step) else ".?"
    return place


def _dumps(value: Any, *, option: int) -> bytes:
    try:
        return orjson.dumps(value, default=_fragment, option=option)
    except orjson.JSONEncodeError:
        # orjson writes no integer beyond 64 bits; JSON and FHIR's decimal know no such limit.
        return orjson.dumps(_with_long_ints(value), default=_fragment, option=option)


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError(f"A resource cannot hold a {type(value).__name__}.")


def _with_long_ints(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_long_ints(child) for key, child in value.items()}
        case list():
            return [_with_long_ints(child) for child in value]
        case int() if value.bit_length() > 63:
            return orjson.Fragment(str(value))
    return value


def _refuse(rule: str, message: str, *, place: str = "") -> NoReturn:
    raise ResourceRejected(issues=[Issue(place, message, code="structure", rule=rule)])
