"""Asking JSON elements what FHIRPath would: is it there, what does it name, which is later.

After: `type_invariants`, `resource_invariants`. https://hl7.org/fhir/R4/json.html#primitive
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.dates import parse_instant, search_span


def has(element: Json, name: str) -> bool:
    """Whether an element is there, be it only with an extension in place of its value."""
    return name in element or f"_{name}" in element


def has_choice(element: Json, name: str) -> bool:
    """Whether an element that has a choice of types (`value[x]`) is there."""
    at = len(name)
    plain = (key.removeprefix("_") for key in element)
    return any(key.startswith(name) and key[at : at + 1].isupper() for key in plain)


def contained(resource: Json, resource_id: str) -> Json | None:
    """The resource that another contains under an id."""
    inner: Json
    for inner in resource.get("contained", ()):
        if inner.get("id") == resource_id:
            return inner
    return None


def codes_in(concept: Json | None, system: str) -> set[Any]:
    """The codes that a CodeableConcept has from one system."""
    codings = (concept or {}).get("coding", ())
    return {coding.get("code") for coding in codings if coding.get("system") == system}


def strings_in(value: Any) -> Iterator[str]:
    """Every string at or below a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from strings_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings_in(child)


def is_surely_after(first: str, second: str) -> bool:
    """Whether one date or dateTime is later than another, whatever they leave open.

    2026 is not surely after 2026-02; a bare date beside an instant may be meant in any time zone.
    """
    if len(first) == len(second) and first.endswith("Z") and second.endswith("Z"):
        return first > second
    try:
        if "T" in first and "T" in second:
            return parse_instant(first) > parse_instant(second)
    except ResourceRejected:
        return False
    spans = search_span(first), search_span(second)
    if spans[0] is None or spans[1] is None:
        return False
    is_mixed = ("T" in first) != ("T" in second)
    return spans[0][0] - spans[1][1] >= (_ZONES_APART if is_mixed else timedelta())


_ZONES_APART: Final = timedelta(hours=14)
