"""FHIRPath invariants as closures over JSON: parsed by fhirpathpy, compiled and kept.

What invariants are made of is compiled here, hundreds of times as fast as interpreting it; dates
are compared here alone, since fhirpathpy takes no account of their zones. What is left goes to
fhirpathpy. After: `profile_overlay`. https://hl7.org/fhirpath/N1/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.fhirpath_steps import compiled_truth
from fhir_hub_bridge.fhir.fhirpath_values import NotCompiled, Path, Scope, Truth

# The functions that ask what a lone resource cannot answer: other resources, terminologies, time.
_UNANSWERABLE: Final = (
    "resolve",
    "memberOf",
    "conformsTo",
    "now",
    "today",
    "timeOfDay",
    "subsumes",
)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A compiled expression, or why there is none (`not_checked`, a sentence)."""

    expression: str
    truth: Truth | None
    not_checked: str = ""

    def holds(self, element: Any, *, kind: str, resource: Json) -> bool:
        """Whether it is so for an element of a type.

        Where FHIRPath says neither, or the expression stumbles over what it finds, it holds.
        """
        if self.truth is None:
            return True
        try:
            return self.truth([element], Scope(resource, kind)) is not False
        except _STUMBLES:
            return True


_STUMBLES: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error)


@lru_cache(maxsize=4096)
def invariant(expression: str) -> Invariant:
    """Compile an expression once; 2 ms at the first call, 100 more at the very first."""
    with _ONE_AT_A_TIME:
        return _invariant(expression)


_ONE_AT_A_TIME: Final = Lock()  # antlr4's parsers share what they learn, and do not guard it


def _invariant(expression: str) -> Invariant:
    try:
        tree = _parsed(expression)
    except _UNREADABLE:
        return Invariant(expression, None, "the expression cannot be parsed")
    asked = _functions(tree)
    if unanswerable := sorted(asked.intersection(_UNANSWERABLE)):
        return Invariant(expression, None, f"{unanswerable[0]}() is not supported")
    try:
        return Invariant(expression, compiled_truth(tree))
    except NotCompiled:
        pass
    if _compares_order(tree):
        return Invariant(expression, None, "it compares what may be dates in an unusual way")
    if unknown := sorted(asked - _known_to_fhirpathpy()):
        return Invariant(expression, None, f"{unknown[0]}() is not supported")
    return Invariant(expression, _interpreted(expression))


_UNREADABLE: Final = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


def _parsed(expression: str) -> Any:
    """Parse by fhirpathpy's grammar; its own `parse` passes over what it does not understand."""
    from antlr4 import CommonTokenStream, InputStream, ParseTreeWalker  # slow, and seldom needed
    from antlr4.error.ErrorListener import ErrorListener
    from fhirpathpy.parser.ASTPathListener import ASTPathListener
    from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
    from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

    class Refusing(ErrorListener):  # type: ignore[misc]
        def syntaxError(self, *_: object) -> None:  # noqa: N802 - antlr4's name
            raise ValueError(expression)

    lexer = FHIRPathLexer(InputStream(expression))
    parser = FHIRPathParser(CommonTokenStream(lexer))
    for reader in (lexer, parser):
        reader.removeErrorListeners()
        reader.addErrorListener(Refusing())
    listener = ASTPathListener()  # type: ignore[no-untyped-call]
    found = parser.expression()
    if parser.getCurrentToken().type != parser.EOF:
        raise ValueError(expression)
    ParseTreeWalker().walk(listener, found)
    return listener.parentStack[0]["children"][0]


def _known_to_fhirpathpy() -> Set[str]:
    from fhirpathpy.engine.invocations import invocation_registry

    return {*invocation_registry}


def _functions(node: Any) -> set[str]:
    """The names of all functions that an expression calls."""
    found: set[str] = set()
    if node["type"] == "Functn":
        found.add(node["children"][0]["text"])
    for child in node.get("children", ()):
        found |= _functions(child)
    return found


def _compares_order(node: Any) -> bool:
    kinds = ("InequalityExpression", "EqualityExpression")
    return node["type"] in kinds or any(map(_compares_order, node.get("children", ())))


def _interpreted(expression: str) -> Truth:
    """Leave an expression to fhirpathpy, with R4's model."""
    from fhirpathpy import compile as compiled
    from fhirpathpy.models import models

    evaluate: Callable[..., Any] = compiled(expression, models["r4"])

    def truth(focus: Path, scope: Scope) -> bool | None:
        try:
            found = evaluate(focus[0], {"resource": scope.resource})
        except Exception:  # noqa: BLE001 - an expression that fails says nothing
            return None
        return None if not found else found != [False]

    return truth
