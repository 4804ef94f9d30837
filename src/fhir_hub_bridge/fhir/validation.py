"""Is a resource FHIR? Judged by the R4B classes, and by hand where they are too kind.

The classes read "true" as true and 3.0 as 3, take any code, and let emptiness pass. Messages never
repeat what was sent. Before: `codec`. After: `intake`.
https://hl7.org/fhir/R4/validation.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.narrative import is_safe
from fhir_hub_bridge.fhir.required_codes import CODES
from fhir_hub_bridge.fhir.typed import element_names, model_class

SUPPORTED_TYPES: Final = frozenset(
    {
        "Bundle",
        "ClaimResponse",
        "Communication",
        "CommunicationRequest",
        "Consent",
        "Coverage",
        "Organization",
        "Patient",
        "Practitioner",
        "PractitionerRole",
        "Provenance",
        "RelatedPerson",
        "ServiceRequest",
        "Task",
    }
)

_MAX_ISSUES: Final = 50


def issues_of(resource: Json) -> list[Issue]:
    """List what keeps a resource of a supported type from being FHIR; empty if nothing does.

    At most 50 issues, each with a FHIRPath-like place. No message repeats a value of the resource.
    """
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in SUPPORTED_TYPES:
        message = f"The resourceType must be one of {', '.join(sorted(SUPPORTED_TYPES))}."
        return [Issue("", message, code="not-supported", rule="resource-type")]
    issues = [*_empty_parts(resource, kind)]
    for place, inner in _resources(resource, kind):
        issues.extend(_resource_issues(inner, place))
    issues.extend(_class_issues(resource, kind))
    return list(dict.fromkeys(issues))[:_MAX_ISSUES]


_ID: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9.-]{1,64}")
_ELEMENT: Final = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")
_BASE64: Final = re.compile(r"(?:[0-9A-Za-z+/]{4})*(?:[0-9A-Za-z+/]{2}==|[0-9A-Za-z+/]{3}=)?")
_UNLIKE_TYPE: Final = "The value does not fit the element's type."


def _empty_parts(value: Any, place: str) -> Iterator[Issue]:
    """FHIR's JSON has no nulls, empty strings, arrays or objects."""
    match value:
        case {} if not value:
            yield Issue(place, "An object may not be empty.", rule="json-empty")
        case dict():
            for key, child in value.items():
                yield from _empty_children(value, key, child, _step(place, key))
        case str() if not value.strip():
            yield Issue(place, "A value may not be empty.", rule="json-empty")
        case None:
            yield Issue(place, "A value may not be null.", rule="json-empty")


def _empty_children(parent: Json, key: str, child: Any, place: str) -> Iterator[Issue]:
    if not isinstance(child, list):
        yield from _empty_parts(child, place)
        return
    if not child:
        yield Issue(place, "An array may not be empty.", rule="json-empty")
    # Arrays of primitives come in pairs, `given` and `_given`, whose nulls fill each other's gaps.
    twin = parent.get(key[1:] if key.startswith("_") else f"_{key}")
    for index, item in enumerate(child):
        gap_filled = isinstance(twin, list) and index < len(twin) and twin[index] is not None
        if item is not None or not gap_filled:
            yield from _empty_parts(item, f"{place}[{index}]")


def _resources(resource: Any, place: str) -> Iterator[tuple[str, Json]]:
    if not isinstance(resource, dict):
        return
    yield place, resource
    contained = resource.get("contained")
    for index, inner in enumerate(contained if isinstance(contained, list) else []):
        yield from _resources(inner, f"{place}.contained[{index}]")
    if resource.get("resourceType") == "Bundle":
        entries = resource.get("entry")
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                yield from _resources(entry.get("resource"), f"{place}.entry[{index}].resource")


def _resource_issues(resource: Json, place: str) -> Iterator[Issue]:
    """Judge what the classes miss of one resource, contained and enclosed ones each in turn."""
    resource_id = resource.get("id")
    if isinstance(resource_id, str) and not _ID.fullmatch(resource_id):
        message = "An id is 1 to 64 letters, digits, hyphens and dots."
        yield Issue(f"{place}.id", message, code="value", rule="resource-id")
    kind = resource.get("resourceType")
    for element, codes in CODES.get(kind if isinstance(kind, str) else "", {}).items():
        code = resource.get(element)
        if isinstance(code, str) and code not in codes:
            message = f"The code must be one of {', '.join(sorted(codes))}."
            yield Issue(f"{place}.{element}", message, code="code-invalid", rule="required-code")
    text = resource.get("text")
    div = text.get("div") if isinstance(text, dict) else None
    if isinstance(div, str) and not is_safe(div):
        message = "A narrative is plain XHTML without scripts, forms, frames or event attributes."
        yield Issue(f"{place}.text.div", message, code="invariant", rule="narrative-safe")


def _class_issues(resource: Json, kind: str) -> Iterator[Issue]:
    from pydantic import ValidationError

    try:
        model = model_class(kind).model_validate(resource)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            yield _class_issue(kind, fault["loc"], fault["type"], fault["msg"])
    except KeyError:
        message = "It holds a resource of a type that FHIR does not have."
        yield Issue(kind, message, rule="resource-type")
    except (AttributeError, TypeError, ValueError):
        # The library's own code stumbles over some shapes before it can judge them.
        yield Issue(kind, "The resource cannot be read as FHIR.", rule="element-type")
    else:
        yield from _coerced(resource, model, kind)


def _class_issue(kind: str, steps: tuple[int | str, ...], fault: str, text: str) -> Issue:
    place = kind
    for step in steps:
        # `root` and `resource_type` are the library's own steps, not elements.
        if isinstance(step, int):
            place += f"[{step}]"
        elif step not in ("root", "resource_type"):
            place = _step(place, step)
    if fault in ("missing", "model_field_validation.missing"):
        return Issue(place, "The element is required.", code="required", rule="element-required")
    if fault == "extra_forbidden":
        return Issue(place, "There is no such element here.", rule="element-unknown")
    if "from this list" in text:
        message = "Exactly one of the element's choices of type is required."
        return Issue(place, message, code="required", rule="element-choice")
    return Issue(place, _UNLIKE_TYPE, code="value", rule="element-type")


def _coerced(sent: Any, typed: Any, place: str) -> Iterator[Issue]:
    """Find values that the classes have turned into another JSON type, or taken by another name."""
    if isinstance(typed, list) and isinstance(sent, list) and len(typed) == len(sent):
        for index, (item, part) in enumerate(zip(sent, typed, strict=True)):
            if item is not None:
                yield from _coerced(item, part, f"{place}[{index}]")
    elif hasattr(typed, "model_fields_set") and isinstance(sent, dict):
        names = element_names(typed.__class__)
        for key, child in sent.items():
            if key in names:
                yield from _coerced(child, getattr(typed, names[key]), _step(place, key))
            elif key != "resourceType":
                message = "There is no such element here."
                yield Issue(_step(place, key), message, rule="element-unknown")
    elif not _is_alike(sent, typed):
        yield Issue(place, _UNLIKE_TYPE, code="value", rule="element-type")


def _is_alike(sent: Any, typed: Any) -> bool:
    match typed:
        case bool() | int():
            return type(sent) is type(typed)
        case Decimal() | float():
            return isinstance(sent, int | Decimal | float) and not isinstance(sent, bool)
        case bytes():
            return isinstance(sent, str) and bool(_BASE64.fullmatch("".join(sent.split())))
        case None:
            return sent is None
    return (
        isinstance(sent, str)
        and not isinstance(typed, list)
        and not hasattr(typed, "model_fields_set")
    )


def _step(place: str, key: str) -> str:
    """Go one element down; a name that is no element's is not repeated."""
    return f"{place}.{key}" if _ELEMENT.fullmatch(key) else f"{place}.?"
