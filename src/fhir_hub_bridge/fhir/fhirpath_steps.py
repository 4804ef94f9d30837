"""The steps of FHIRPath as closures: from a parsed expression to a function of a JSON value.

Every value travels as a list. A step that this module does not know raises NotCompiled, at
compile time only. After: `fhirpath`. https://hl7.org/fhirpath/N1/
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.dates import search_span
from fhir_hub_bridge.fhir.definitions import resource_types, type_names
from fhir_hub_bridge.fhir.elements import is_surely_after


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may ask about beside its focus: the resource, and the focus's type."""

    resource: Json
    kind: str = ""


Path: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Path, Scope], Path]
Truth: TypeAlias = Callable[[Path, Scope], bool | None]
Node: TypeAlias = Any  # fhirpathpy's parse tree: type, text, children


class NotCompiled(Exception):
    """The expression has a part that is not compiled here."""


def compiled_truth(node: Node) -> Truth:
    """Compile an expression of which only true, false or neither (None) is asked."""
    kind, children = node["type"], node.get("children", [])
    match kind:
        case "ImpliesExpression":
            return _implies(compiled_truth(children[0]), compiled_truth(children[1]))
        case "AndExpression":
            return _and(compiled_truth(children[0]), compiled_truth(children[1]))
        case "OrExpression":
            is_xor = node["terminalNodeText"] == ["xor"]
            make = _xor if is_xor else _or
            return make(compiled_truth(children[0]), compiled_truth(children[1]))
        case "EqualityExpression":
            return _equality(node["terminalNodeText"][0], *map(compiled_path, children))
        case "InequalityExpression":
            return _inequality(node["terminalNodeText"][0], *map(compiled_path, children))
        case "MembershipExpression":
            one, many = map(compiled_path, children)
            if node["terminalNodeText"][0] == "contains":
                one, many = many, one
            return _membership(one, many)
        case "TypeExpression" if node["terminalNodeText"][0] == "is":
            return _is_type(children[0], _type_name(children[1]))
        case "InvocationExpression" if children[1]["type"] == "FunctionInvocation":
            return _function_truth(children[0], *_call(children[1]))
    if function := _lone_function(node):
        return _function_truth(None, *function)
    inner = _inside_parentheses(node)
    return _truth_of(compiled_path(node)) if inner is None else compiled_truth(inner)


def compiled_path(node: Node) -> Step:
    """Compile an expression of which all values are asked."""
    kind, children = node["type"], node.get("children", [])
    if (inner := _inside_parentheses(node)) is not None:
        return compiled_path(inner)
    match kind:
        case "TermExpression":
            return _term(children[0])
        case "InvocationExpression" if children[1]["type"] == "MemberInvocation":
            return _then(compiled_path(children[0]), _member(_name(children[1])))
        case "InvocationExpression" if children[1]["type"] == "FunctionInvocation":
            return _function_path(children[0], *_call(children[1]), node)
        case "IndexerExpression":
            return _at_index(*map(compiled_path, children))
        case "UnionExpression":
            return _union(*map(compiled_path, children))
        case "AdditiveExpression" | "MultiplicativeExpression":
            return _arithmetic(node["terminalNodeText"][0], *map(compiled_path, children))
        case "TypeExpression" if node["terminalNodeText"][0] == "as":
            return _of_type(children[0], _type_name(children[1]))
        case _ if kind in _TRUTHS:
            return _collected(compiled_truth(node))
    raise NotCompiled(kind)


_TRUTHS: Final = frozenset(
    {
        "ImpliesExpression",
        "AndExpression",
        "OrExpression",
        "EqualityExpression",
        "InequalityExpression",
        "MembershipExpression",
        "TypeExpression",
    }
)


# --- reading the tree


def _inside_parentheses(node: Node) -> Node | None:
    if node["type"] == "TermExpression" and node["children"][0]["type"] == "ParenthesizedTerm":
        return node["children"][0]["children"][0]
    return None


def _lone_function(node: Node) -> tuple[str, list[Node]] | None:
    """The function that a term is: `exists()` asked of the focus."""
    if node["type"] == "TermExpression" and node["children"][0]["type"] == "InvocationTerm":
        invocation = node["children"][0]["children"][0]
        if invocation["type"] == "FunctionInvocation":
            return _call(invocation)
    return None


def _call(node: Node) -> tuple[str, list[Node]]:
    name, *parameters = node["children"][0]["children"]
    return name["text"], parameters[0]["children"] if parameters else []


def _name(node: Node) -> str:
    text: str = node["children"][0]["text"]
    return text.strip("`")


def _type_name(node: Node) -> str:
    return str(node["text"]).rpartition(".")[2].strip("`")


def _term(node: Node) -> Step:
    children = node.get("children", [])
    match node["type"]:
        case "LiteralTerm":
            return _constant(_literal(children[0]))
        case "ExternalConstantTerm":
            if children[0]["children"][0]["text"] in ("resource", "rootResource"):
                return lambda _, scope: [scope.resource]
            raise NotCompiled(node["text"])
        case "InvocationTerm" if children[0]["type"] == "ThisInvocation":
            return lambda focus, _: focus
        case "InvocationTerm" if children[0]["type"] == "MemberInvocation":
            name = _name(children[0])
            if name in resource_types():
                return lambda focus, _: [v for v in focus if _is_of(v, name)]
            return _member(name)
        case "InvocationTerm" if children[0]["type"] == "FunctionInvocation":
            return _function_path(None, *_call(children[0]), node)
    raise NotCompiled(node["type"])


def _literal(node: Node) -> Path:
    text = node.get("text", "")
    match node["type"]:
        case "StringLiteral":
            return [re.sub(r"\\(.)", _escape, text[1:-1])]
        case "NumberLiteral":
            return [Decimal(text) if "." in text else int(text)]
        case "BooleanLiteral":
            return [text == "true"]
        case "NullLiteral":
            return []
    raise NotCompiled(node["type"])


def _escape(match: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}.get(match[1], match[1])


# --- where values come from


def _constant(values: Path) -> Step:
    return lambda _focus, _scope: values


def _then(first: Step, second: Step) -> Step:
    return lambda focus, scope: second(first(focus, scope), scope)


def _member(name: str) -> Step:
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
        if key.startswith(name) and key[at:] in _suffixes():
            return child
    return None


@cache
def _suffixes() -> dict[str, str]:
    """The types as choices name them: `String` of valueString."""
    return {f"{name[0].upper()}{name[1:]}": name for name in type_names()}


def _of_type(of: Node | None, kind: str) -> Step:
    """The values of one type; a choice's type is told by its JSON name."""
    if of is not None and (split := _split_member(of)) is not None:
        before, name = split
        typed = _member(f"{name}{kind[0].upper()}{kind[1:]}")
        plain = _member(name)

        def step(focus: Path, scope: Scope) -> Path:
            found = before(focus, scope)
            resources = [v for v in plain(found, scope) if _is_of(v, kind)]
            return typed(found, scope) or resources

        return step
    if of is None or _is_this(of):
        return lambda focus, scope: focus if _focus_is(focus, scope, kind) else []
    inner = compiled_path(of)
    if kind not in resource_types():
        raise NotCompiled("ofType")
    return lambda focus, scope: [v for v in inner(focus, scope) if _is_of(v, kind)]


def _is_type(of: Node | None, kind: str) -> Truth:
    if of is None or _is_this(of):
        return lambda focus, scope: _focus_is(focus, scope, kind) if focus else None
    step, every = _of_type(of, kind), compiled_path(of)
    return lambda focus, scope: bool(step(focus, scope)) if every(focus, scope) else None


def _focus_is(focus: Path, scope: Scope, kind: str) -> bool:
    return all(_is_of(value, kind) or scope.kind == kind for value in focus)


def _is_of(value: Any, kind: str) -> bool:
    return isinstance(value, dict) and value.get("resourceType") == kind


def _is_this(node: Node) -> bool:
    return bool(node.get("text") == "$this")


def _split_member(node: Node) -> tuple[Step, str] | None:
    """An expression that ends with an element's name: what comes before it, and the name."""
    if node["type"] == "InvocationExpression" and node["children"][1]["type"] == "MemberInvocation":
        return compiled_path(node["children"][0]), _name(node["children"][1])
    if node["type"] == "TermExpression" and node["children"][0]["type"] == "InvocationTerm":
        invocation = node["children"][0]["children"][0]
        if invocation["type"] == "MemberInvocation":
            return (lambda focus, _: focus), _name(invocation)
    return None


# --- functions


def _function_truth(of: Node | None, name: str, parameters: list[Node]) -> Truth:
    if name in ("is", "ofType", "as"):
        if name != "is":
            return _truth_of(_of_type(of, _type_name(parameters[0])))
        return _is_type(of, _type_name(parameters[0]))
    before: Step = compiled_path(of) if of is not None else lambda focus, _: focus
    match name, len(parameters):
        case "exists", 0:
            return lambda focus, scope: bool(before(focus, scope))
        case "empty", 0:
            return lambda focus, scope: not before(focus, scope)
        case "exists", 1:
            holds = compiled_truth(parameters[0])
            return lambda focus, scope: any(
                holds([v], scope) is True for v in before(focus, scope)
            )
        case "all", 1:
            holds = compiled_truth(parameters[0])
            return lambda focus, scope: all(
                holds([v], scope) is True for v in before(focus, scope)
            )
        case "not", 0:
            truth = compiled_truth(of) if of is not None else _truth_of(before)
            return lambda focus, scope: _not(truth(focus, scope))
        case "allTrue", 0:
            return lambda focus, scope: all(v is True for v in before(focus, scope))
        case "anyTrue", 0:
            return lambda focus, scope: any(v is True for v in before(focus, scope))
        case "isDistinct", 0:
            return lambda focus, scope: _is_distinct(before(focus, scope))
        case "hasValue", 0:
            return lambda focus, scope: _is_one_value(before(focus, scope))
        case ("matches" | "startsWith" | "endsWith" | "contains"), 1:
            return _about_text(name, before, compiled_path(parameters[0]))
    return _truth_of(_function_path(of, name, parameters, None))


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _is_distinct(values: Path) -> bool:
    return all(value not in values[:index] for index, value in enumerate(values))


def _is_one_value(values: Path) -> bool:
    return len(values) == 1 and not isinstance(values[0], dict)


def _about_text(name: str, before: Step, parameter: Step) -> Truth:
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


def _function_path(
    of: Node | None, name: str, parameters: list[Node], node: Node | None
) -> Step:
    if name in ("ofType", "as"):
        return _of_type(of, _type_name(parameters[0]))
    before: Step = compiled_path(of) if of is not None else lambda focus, _: focus
    match name, len(parameters):
        case "where", 1:
            holds = compiled_truth(parameters[0])
            return lambda focus, scope: [
                v for v in before(focus, scope) if holds([v], scope) is True
            ]
        case "select", 1:
            step = compiled_path(parameters[0])
            return lambda focus, scope: [
                found for v in before(focus, scope) for found in step([v], scope)
            ]
        case "extension", 1:
            urls = compiled_path(parameters[0])
            extensions = _then(before, _member("extension"))
            return lambda focus, scope: [
                v for v in extensions(focus, scope) if [v.get("url")] == urls(focus, scope)
            ]
        case "first", 0:
            return lambda focus, scope: before(focus, scope)[:1]
        case "last", 0:
            return lambda focus, scope: before(focus, scope)[-1:]
        case "tail", 0:
            return lambda focus, scope: before(focus, scope)[1:]
        case "count", 0:
            return lambda focus, scope: [len(before(focus, scope))]
        case "distinct", 0:
            return lambda focus, scope: _distinct(before(focus, scope))
        case "iif", 2 | 3:
            return _iif(before, *parameters)
        case ("length" | "toString" | "toInteger" | "lower" | "upper"), 0:
            return _conversion(before, name)
        case "substring", 1 | 2:
            return _substring(before, *map(compiled_path, parameters))
        case _ if name in _TRUTH_FUNCTIONS and node is not None:
            return _collected(_function_truth(of, name, parameters))
    raise NotCompiled(name)


_TRUTH_FUNCTIONS: Final = frozenset(
    {
        "exists",
        "empty",
        "all",
        "not",
        "allTrue",
        "anyTrue",
        "isDistinct",
        "hasValue",
        "is",
        "matches",
        "startsWith",
        "endsWith",
        "contains",
    }
)


def _distinct(values: Path) -> Path:
    found: Path = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _iif(before: Step, condition: Node, then: Node, otherwise: Node | None = None) -> Step:
    truth, yes = compiled_truth(condition), compiled_path(then)
    no: Step = compiled_path(otherwise) if otherwise else lambda _focus, _scope: []

    def step(focus: Path, scope: Scope) -> Path:
        found = before(focus, scope)
        return yes(found, scope) if truth(found, scope) is True else no(found, scope)

    return step


def _conversion(before: Step, name: str) -> Step:
    convert: Callable[[Any], Path] = {
        "length": lambda value: [len(value)] if isinstance(value, str) else [],
        "toString": lambda value: [_text(value)] if not isinstance(value, dict) else [],
        "toInteger": lambda value: [int(value)] if re.fullmatch(r"[+-]?\d+", str(value)) else [],
        "lower": lambda value: [str(value).lower()],
        "upper": lambda value: [str(value).upper()],
    }[name]

    def step(focus: Path, scope: Scope) -> Path:
        values = before(focus, scope)
        return convert(values[0]) if len(values) == 1 else []

    return step


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _substring(before: Step, start: Step, length: Step | None = None) -> Step:
    def step(focus: Path, scope: Scope) -> Path:
        values, at = before(focus, scope), start(focus, scope)
        size = length(focus, scope) if length else None
        if len(values) != 1 or not isinstance(values[0], str) or not at or size == []:
            return []
        text = values[0][at[0] :] if 0 <= at[0] < len(values[0]) else ""
        return [text[: size[0]] if size else text] if text else []

    return step


# --- operators


def _truth_of(step: Step) -> Truth:
    """What a collection says as a condition: nothing, its one Boolean, or that it is there."""

    def truth(focus: Path, scope: Scope) -> bool | None:
        values = step(focus, scope)
        if not values:
            return None
        return values[0] if len(values) == 1 and isinstance(values[0], bool) else True

    return truth


def _collected(truth: Truth) -> Step:
    def step(focus: Path, scope: Scope) -> Path:
        answer = truth(focus, scope)
        return [] if answer is None else [answer]

    return step


def _implies(first: Truth, second: Truth) -> Truth:
    def truth(focus: Path, scope: Scope) -> bool | None:
        one = first(focus, scope)
        if one is False:
            return True
        other = second(focus, scope)
        return other if one is True else (True if other is True else None)

    return truth


def _and(first: Truth, second: Truth) -> Truth:
    def truth(focus: Path, scope: Scope) -> bool | None:
        one = first(focus, scope)
        if one is False:
            return False
        other = second(focus, scope)
        return False if other is False else (None if one is None else other)

    return truth


def _or(first: Truth, second: Truth) -> Truth:
    def truth(focus: Path, scope: Scope) -> bool | None:
        one = first(focus, scope)
        if one is True:
            return True
        other = second(focus, scope)
        return True if other is True else (None if one is None else other)

    return truth


def _xor(first: Truth, second: Truth) -> Truth:
    def truth(focus: Path, scope: Scope) -> bool | None:
        one, other = first(focus, scope), second(focus, scope)
        return None if one is None or other is None else one != other

    return truth


def _equality(sign: str, first: Step, second: Step) -> Truth:
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


def _inequality(sign: str, first: Step, second: Step) -> Truth:
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


def _membership(one: Step, many: Step) -> Truth:
    def truth(focus: Path, scope: Scope) -> bool | None:
        values = one(focus, scope)
        if not values:
            return None
        found = many(focus, scope)
        return any(_is_equal(values[0], value) for value in found)

    return truth


def _union(first: Step, second: Step) -> Step:
    return lambda focus, scope: _distinct([*first(focus, scope), *second(focus, scope)])


def _at_index(of: Step, index: Step) -> Step:
    def step(focus: Path, scope: Scope) -> Path:
        values, at = of(focus, scope), index(focus, scope)
        return values[at[0] : at[0] + 1] if at and at[0] >= 0 else []

    return step


def _arithmetic(sign: str, first: Step, second: Step) -> Step:
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
