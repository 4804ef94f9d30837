"""What FHIRPath's members, functions and operators do, as functions that make closures.

Every value travels as a list; a truth is true, false or neither. The dates are compared by the
moments that they mean. After: `fhirpath_steps`. https://hl7.org/fhirpath/N1/
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.dates import search_span
from fhir_hub_bridge.fhir.definitions import type_names
from fhir_hub_bridge.fhir.elements import is_surely_after


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may ask about beside its focus: the resource, and the focus's type."""

    resource: Json
    kind: str = ""


Path: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Path, Scope], Path]
Truth: TypeAlias = Callable[[Path, Scope], bool | None]


class NotCompiled(Exception):
    """The expression has a part that is not compiled here."""


def constant(values: Path) -> Step:
    """The same values whatever is asked."""
    return lambda _focus, _scope: values


def then(first: Step, second: Step) -> Step:
    """One step after another."""
    return lambda focus, scope: second(first(focus, scope), scope)


def member(name: str) -> Step:
    """The children of that name; of a choice of types, whichever is there."""
    beside = f"_{name}"

    def step(focus: Path, _: Scope) -> Path:
        found: Path = []
        for value in focus:
            if not isinstance(value, dict):
                continue
            if (child := value.get(name)) is None and (child := value.get(beside)) is None:
                child = _chosen(value, name)
            if isinstance(child, list):
                found.extend(c for c in child if c is not None)
            elif child is not None:
                found.append(child)
        return found

    return step


def _chosen(value: Json, name: str) -> Any:
    """The value of an element that has a choice of types (`value[x]`), if it is there."""
    at = len(name)
    for key, child in value.items():
        if key.startswith(name) and key[at:] in suffixes():
            return child
    return None


@cache
def suffixes() -> dict[str, str]:
    """The types as choices name them: `String` of valueString."""
    return {f"{name[0].upper()}{name[1:]}": name for name in type_names()}


def focus_is(focus: Path, scope: Scope, kind: str) -> bool:
    """Whether all of the focus is of a type."""
    return all(is_of(value, kind) or scope.kind == kind for value in focus)


def is_of(value: Any, kind: str) -> bool:
    """Whether a value is a resource of a type."""
    return isinstance(value, dict) and value.get("resourceType") == kind


def negated(truth: bool | None) -> bool | None:
    """not()"""
    return None if truth is None else not truth


def is_distinct(values: Path) -> bool:
    """isDistinct()"""
    return all(value not in values[:index] for index, value in enumerate(values))


def is_one_value(values: Path) -> bool:
    """hasValue()"""
    return len(values) == 1 and not isinstance(values[0], dict)


def about_text(name: str, before: Step, parameter: Step) -> Truth:
    """matches(), startsWith(), endsWith() and contains()."""
    ask: Callable[[str, str], bool] = {
        "matches": lambda text, wanted: re.search(wanted, text) is not None,
        "startsWith": str.startswith,
        "endsWith": str.endswith,
        "contains": lambda text, wanted: wanted in text,
    }[name]

    def truth(focus: Path, scope: Scope) -> bool | None:
        texts, wanted = before(focus, scope), parameter(focus, scope)
        if len(texts) != 1 or not isinstance(texts[0], str) or len(wanted) != 1:
            return None
        return ask(texts[0], wanted[0])

    return truth


def distinct(values: Path) -> Path:
    """distinct()"""
    found: Path = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def conversion(before: Step, name: str) -> Step:
    """length(), toString(), toInteger(), lower() and upper()."""
    conversions: dict[str, Callable[[Any], Path]] = {
        "length": lambda value: [len(value)] if isinstance(value, str) else [],
        "toString": lambda value: [_text(value)] if not isinstance(value, dict) else [],
        "toInteger": lambda value: [int(value)] if re.fullmatch(r"[+-]?\d+", str(value)) else [],
        "lower": lambda value: [str(value).lower()],
        "upper": lambda value: [str(value).upper()],
    }
    convert = conversions[name]

    def step(focus: Path, scope: Scope) -> Path:
        values = before(focus, scope)
        return convert(values[0]) if len(values) == 1 else []

    return step


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def substring(before: Step, start: Step, length: Step | None = None) -> Step:
    """substring()"""

    def step(focus: Path, scope: Scope) -> Path:
        values, at = before(focus, scope), start(focus, scope)
        size = length(focus, scope) if length else None
        if len(values) != 1 or not isinstance(values[0], str) or not at or size == []:
            return []
        text = values[0][at[0] :] if 0 <= at[0] < len(values[0]) else ""
        return [text[: size[0]] if size else text] if text else []

    return step


def truth_of(step: Step) -> Truth:
    """What a collection says as a condition: nothing, its one Boolean, or that it is there."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        values = step(focus, scope)
        if not values:
            return None
        return values[0] if len(values) == 1 and isinstance(values[0], bool) else True

    return truth


def collected(truth: Truth) -> Step:
    """A truth as a collection."""

    def step(focus: Path, scope: Scope) -> Path:
        answer = truth(focus, scope)
        return [] if answer is None else [answer]

    return step


def implies(first: Truth, second: Truth) -> Truth:
    """implies, of three values."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        one = first(focus, scope)
        if one is False:
            return True
        other = second(focus, scope)
        return other if one is True else (True if other is True else None)

    return truth


def both(first: Truth, second: Truth) -> Truth:
    """and, of three values."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        one = first(focus, scope)
        if one is False:
            return False
        other = second(focus, scope)
        return False if other is False else (None if one is None else other)

    return truth


def either(first: Truth, second: Truth) -> Truth:
    """or, of three values."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        one = first(focus, scope)
        if one is True:
            return True
        other = second(focus, scope)
        return True if other is True else (None if one is None else other)

    return truth


def one_of_two(first: Truth, second: Truth) -> Truth:
    """xor: neither where one side is neither."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        one, other = first(focus, scope), second(focus, scope)
        return None if one is None or other is None else one != other

    return truth


def equality(sign: str, first: Step, second: Step) -> Truth:
    """=, !=, ~ and !~; dateTimes are equal where they mean the same moment."""
    is_negated, is_loose = sign.startswith("!"), sign.endswith("~")

    def truth(focus: Path, scope: Scope) -> bool | None:
        one, other = first(focus, scope), second(focus, scope)
        if not one or not other:
            return (not one and not other) != is_negated if is_loose else None
        answer = len(one) == len(other) and all(map(_is_equal, one, other))
        return answer != is_negated

    return truth


def _is_equal(one: Any, other: Any) -> bool:
    if one == other:
        return isinstance(one, bool) == isinstance(other, bool)
    if isinstance(one, str) and isinstance(other, str) and "T" in one and "T" in other:
        span = search_span(one)
        return span is not None and span == search_span(other)
    return False


def inequality(sign: str, first: Step, second: Step) -> Truth:
    """<, <=, > and >=."""
    compare: Callable[[Any, Any], bool] = {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }[sign]

    def truth(focus: Path, scope: Scope) -> bool | None:
        one, other = first(focus, scope), second(focus, scope)
        if len(one) != 1 or len(other) != 1:
            return None
        sides = (one[0], other[0])
        if all(isinstance(side, str) for side in sides):
            return _dates_or_texts(sign, *sides)
        if any(isinstance(side, str | dict | bool) for side in sides):
            return None
        return compare(*sides)

    return truth


def _dates_or_texts(sign: str, one: str, other: str) -> bool | None:
    """Compare two dates by the moments they mean; neither where these may be the same."""
    if search_span(one) is None or search_span(other) is None:
        return one < other if sign[0] == "<" else one > other
    if is_surely_after(one, other):
        return sign[0] == ">"
    if is_surely_after(other, one):
        return sign[0] == "<"
    return sign.endswith("=") if _is_equal(one, other) else None


def membership(one: Step, many: Step) -> Truth:
    """in, and contains the other way round."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        values = one(focus, scope)
        if not values:
            return None
        found = many(focus, scope)
        return any(_is_equal(values[0], value) for value in found)

    return truth


def union(first: Step, second: Step) -> Step:
    """|"""
    return lambda focus, scope: distinct([*first(focus, scope), *second(focus, scope)])


def at_index(of: Step, index: Step) -> Step:
    """[n]"""

    def step(focus: Path, scope: Scope) -> Path:
        values, at = of(focus, scope), index(focus, scope)
        return values[at[0] : at[0] + 1] if at and at[0] >= 0 else []

    return step


def arithmetic(sign: str, first: Step, second: Step) -> Step:
    """+, -, *, mod, div and &."""
    if sign == "&":
        return lambda focus, scope: [
            "".join(map(_text, [*first(focus, scope), *second(focus, scope)]))
        ]
    compute: Callable[[Any, Any], Any] | None = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "mod": operator.mod,
        "div": operator.floordiv,
    }.get(sign)
    if compute is None:
        raise NotCompiled(sign)

    def step(focus: Path, scope: Scope) -> Path:
        one, other = first(focus, scope), second(focus, scope)
        if len(one) != 1 or len(other) != 1 or isinstance(one[0], str) != isinstance(other[0], str):
            return []
        if sign in ("mod", "div") and not other[0]:
            return []
        return [compute(one[0], other[0])]

    return step
