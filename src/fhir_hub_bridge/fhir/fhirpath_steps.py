"""A parsed FHIRPath expression compiled: which closures it is made of.

A step that this module does not know raises NotCompiled, at compile time only.
Before: `fhirpath_values`. After: `fhirpath`. https://hl7.org/fhirpath/N1/
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.fhirpath_values import (
    NotCompiled,
    Path,
    Scope,
    Step,
    Truth,
    about_text,
    arithmetic,
    at_index,
    both,
    collected,
    constant,
    conversion,
    distinct,
    either,
    equality,
    focus_is,
    implies,
    inequality,
    is_distinct,
    is_of,
    is_one_value,
    member,
    membership,
    negated,
    one_of_two,
    substring,
    then,
    truth_of,
    union,
)

Node: TypeAlias = Any  # fhirpathpy's parse tree: type, text, children


def compiled_truth(node: Node) -> Truth:
    """Compile an expression of which only true, false or neither (None) is asked."""
    kind, children = node["type"], node.get("children", [])
    match kind:
        case "ImpliesExpression":
            return implies(compiled_truth(children[0]), compiled_truth(children[1]))
        case "AndExpression":
            return both(compiled_truth(children[0]), compiled_truth(children[1]))
        case "OrExpression":
            is_xor = node["terminalNodeText"] == ["xor"]
            make = one_of_two if is_xor else either
            return make(compiled_truth(children[0]), compiled_truth(children[1]))
        case "EqualityExpression":
            return equality(node["terminalNodeText"][0], *map(compiled_path, children))
        case "InequalityExpression":
            return inequality(node["terminalNodeText"][0], *map(compiled_path, children))
        case "MembershipExpression":
            one, many = map(compiled_path, children)
            if node["terminalNodeText"][0] == "contains":
                one, many = many, one
            return membership(one, many)
        case "TypeExpression" if node["terminalNodeText"][0] == "is":
            return _is_type(children[0], _type_name(children[1]))
        case "InvocationExpression" if children[1]["type"] == "FunctionInvocation":
            return _function_truth(children[0], *_call(children[1]))
    if function := _lone_function(node):
        return _function_truth(None, *function)
    inner = _inside_parentheses(node)
    return truth_of(compiled_path(node)) if inner is None else compiled_truth(inner)


def compiled_path(node: Node) -> Step:
    """Compile an expression of which all values are asked."""
    kind, children = node["type"], node.get("children", [])
    if (inner := _inside_parentheses(node)) is not None:
        return compiled_path(inner)
    match kind:
        case "TermExpression":
            return _term(children[0])
        case "InvocationExpression" if children[1]["type"] == "MemberInvocation":
            return then(compiled_path(children[0]), member(_name(children[1])))
        case "InvocationExpression" if children[1]["type"] == "FunctionInvocation":
            return _function_path(children[0], *_call(children[1]), node)
        case "IndexerExpression":
            return at_index(*map(compiled_path, children))
        case "UnionExpression":
            return union(*map(compiled_path, children))
        case "AdditiveExpression" | "MultiplicativeExpression":
            return arithmetic(node["terminalNodeText"][0], *map(compiled_path, children))
        case "TypeExpression" if node["terminalNodeText"][0] == "as":
            return _of_type(children[0], _type_name(children[1]))
        case _ if kind in _TRUTHS:
            return collected(compiled_truth(node))
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
            return constant(_literal(children[0]))
        case "ExternalConstantTerm":
            if children[0]["children"][0]["text"] in ("resource", "rootResource"):
                return lambda _, scope: [scope.resource]
            raise NotCompiled(node["text"])
        case "InvocationTerm" if children[0]["type"] == "ThisInvocation":
            return lambda focus, _: focus
        case "InvocationTerm" if children[0]["type"] == "MemberInvocation":
            name = _name(children[0])
            if name in resource_types():
                return lambda focus, _: [v for v in focus if is_of(v, name)]
            return member(name)
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


def _of_type(of: Node | None, kind: str) -> Step:
    """The values of one type; a choice's type is told by its JSON name."""
    if of is not None and (split := _split_member(of)) is not None:
        before, name = split
        typed = member(f"{name}{kind[0].upper()}{kind[1:]}")
        plain = member(name)

        def step(focus: Path, scope: Scope) -> Path:
            found = before(focus, scope)
            resources = [v for v in plain(found, scope) if is_of(v, kind)]
            return typed(found, scope) or resources

        return step
    if of is None or _is_this(of):
        return lambda focus, scope: focus if focus_is(focus, scope, kind) else []
    inner = compiled_path(of)
    if kind not in resource_types():
        raise NotCompiled("ofType")
    return lambda focus, scope: [v for v in inner(focus, scope) if is_of(v, kind)]


def _is_type(of: Node | None, kind: str) -> Truth:
    if of is None or _is_this(of):
        return lambda focus, scope: focus_is(focus, scope, kind) if focus else None
    step, every = _of_type(of, kind), compiled_path(of)
    return lambda focus, scope: bool(step(focus, scope)) if every(focus, scope) else None


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


def _function_truth(of: Node | None, name: str, parameters: list[Node]) -> Truth:
    if name in ("is", "ofType", "as"):
        if name != "is":
            return truth_of(_of_type(of, _type_name(parameters[0])))
        return _is_type(of, _type_name(parameters[0]))
    before: Step = compiled_path(of) if of is not None else lambda focus, _: focus
    match name, len(parameters):
        case "exists", 0:
            return lambda focus, scope: bool(before(focus, scope))
        case "empty", 0:
            return lambda focus, scope: not before(focus, scope)
        case "exists", 1:
            holds = _nested_truth(parameters[0])
            return lambda focus, scope: any(holds([v], scope) is True for v in before(focus, scope))
        case "all", 1:
            holds = _nested_truth(parameters[0])
            return lambda focus, scope: all(holds([v], scope) is True for v in before(focus, scope))
        case "not", 0:
            truth = compiled_truth(of) if of is not None else truth_of(before)
            return lambda focus, scope: negated(truth(focus, scope))
        case "allTrue", 0:
            return lambda focus, scope: all(v is True for v in before(focus, scope))
        case "anyTrue", 0:
            return lambda focus, scope: any(v is True for v in before(focus, scope))
        case "isDistinct", 0:
            return lambda focus, scope: is_distinct(before(focus, scope))
        case "hasValue", 0:
            return lambda focus, scope: is_one_value(before(focus, scope))
        case (("matches" | "startsWith" | "endsWith" | "contains"), 1):
            return about_text(name, before, compiled_path(parameters[0]))
    return truth_of(_function_path(of, name, parameters, None))


def _nested_truth(node: Node) -> Truth:
    """A condition on each value: of what type that is, only a resource tells itself."""
    if _asks_own_type(node):
        raise NotCompiled("$this")
    return compiled_truth(node)


def _nested_path(node: Node) -> Step:
    if _asks_own_type(node):
        raise NotCompiled("$this")
    return compiled_path(node)


def _asks_own_type(node: Node) -> bool:
    children = node.get("children", [])
    asked: Node | None = None
    if node["type"] == "TypeExpression" and _is_this(children[0]):
        asked = children[1]
    elif (call := _lone_function(node)) is not None or (
        node["type"] == "InvocationExpression"
        and _is_this(children[0])
        and children[1]["type"] == "FunctionInvocation"
        and (call := _call(children[1]))
    ):
        name, parameters = call
        asked = parameters[0] if name in ("is", "as", "ofType") else None
    if asked is not None and _type_name(asked) not in resource_types():
        return True
    return any(map(_asks_own_type, children))


def _function_path(  # noqa: PLR0912 - a case for each function
    of: Node | None, name: str, parameters: list[Node], node: Node | None
) -> Step:
    if name in ("ofType", "as"):
        return _of_type(of, _type_name(parameters[0]))
    before: Step = compiled_path(of) if of is not None else lambda focus, _: focus
    match name, len(parameters):
        case "where", 1:
            holds = _nested_truth(parameters[0])
            return lambda focus, scope: [
                v for v in before(focus, scope) if holds([v], scope) is True
            ]
        case "select", 1:
            step = _nested_path(parameters[0])
            return lambda focus, scope: [
                found for v in before(focus, scope) for found in step([v], scope)
            ]
        case "extension", 1:
            urls = compiled_path(parameters[0])
            extensions = then(before, member("extension"))
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
            return lambda focus, scope: distinct(before(focus, scope))
        case "iif", 2 | 3:
            return _iif(before, *parameters)
        case (("length" | "toString" | "toInteger" | "lower" | "upper"), 0):
            return conversion(before, name)
        case "substring", 1 | 2:
            return substring(before, *map(compiled_path, parameters))
        case _ if name in _TRUTH_FUNCTIONS and node is not None:
            return collected(_function_truth(of, name, parameters))
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


def _iif(before: Step, condition: Node, then: Node, otherwise: Node | None = None) -> Step:
    truth, yes = compiled_truth(condition), compiled_path(then)
    no: Step = compiled_path(otherwise) if otherwise else lambda _focus, _scope: []

    def step(focus: Path, scope: Scope) -> Path:
        found = before(focus, scope)
        return yes(found, scope) if truth(found, scope) is True else no(found, scope)

    return step
