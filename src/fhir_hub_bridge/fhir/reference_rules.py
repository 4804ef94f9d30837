"""Whether a Reference may stand where it stands: well formed, of a type that is allowed there.

After: `inspection`. https://hl7.org/fhir/R4/references.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.elements import contained
from fhir_hub_bridge.fhir.findings import Fault, Finding

FORM: Final = Fault(
    "reference-form",
    "A reference is Type/id, Type?search (in a transaction), a URL, a urn or #id.",
    "value",
)
TYPE: Final = Fault("reference-type", "The type is not that of the resource referred to.", "value")
NOT_CONTAINED: Final = Fault(
    "ref-1", "A reference that begins with # must name a contained resource.", "invariant"
)


def reference_look(targets: tuple[str, ...]) -> Callable[[Json, Json], Finding | None]:
    """Make the judge of a Reference whose element takes some types, or any if none is named.

    An absolute URL that names no type of R4 is let pass.
    """
    allowed = frozenset(targets) or resource_types()
    refusal = Fault("reference-target", f"The reference may only name: {', '.join(targets)}.")

    def look(element: Json, resource: Json) -> Finding | None:
        text, said = element.get("reference"), element.get("type")
        named = said
        if text is not None:
            match = _LITERAL.fullmatch(text)
            if match is None:
                return _of_another_form(text, resource, allowed=allowed, refusal=refusal)
            named = match[1]
            if named is not None and named not in allowed:
                return _of_another_type(named, text, refusal=refusal)
        if said is None or said not in resource_types():
            return None
        if said not in allowed:
            return Finding(refusal, ["type"])
        return Finding(TYPE, ["type"]) if named not in (None, said) else None

    return look


_ID: Final = "[A-Za-z0-9.-]{1,64}"
_LITERAL: Final = re.compile(
    rf"(?:https?://\S+/)?([A-Z][A-Za-z]+)/{_ID}(?:/_history/{_ID})?|urn:(?:uuid|oid):\S+"
)
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_CONDITIONAL: Final = re.compile(r"([A-Z][A-Za-z]+)\?.+")


def _of_another_form(
    text: str, resource: Json, *, allowed: frozenset[str], refusal: Fault
) -> Finding | None:
    # An empty text is told of by the schema.
    if text == "#" or _ABSOLUTE.fullmatch(text) or not text.strip():
        return None
    if text.startswith("#"):
        inner = contained(resource, text[1:])
        if inner is None:
            return Finding(NOT_CONTAINED, [])
        named = inner.get("resourceType")
    elif match := _CONDITIONAL.fullmatch(text):
        named = match[1]
    else:
        return Finding(FORM, ["reference"])
    return None if named in allowed else Finding(refusal, ["reference"])


def _of_another_type(named: str, text: str, *, refusal: Fault) -> Finding | None:
    if named in resource_types():
        return Finding(refusal, ["reference"])
    # Elsewhere, `Foo/1` may be the end of any address.
    return None if text.startswith("http") else Finding(FORM, ["reference"])
