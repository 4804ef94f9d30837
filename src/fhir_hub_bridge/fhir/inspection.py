"""What no schema says of a resource: one walk through it, by the plan of its type.

Invariants, references, narratives, integers written as 3.0, and each resource inside, in turn.
Before: `inspection_plans`, `schema_findings`. After: `validation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.findings import Finding
from fhir_hub_bridge.fhir.inspection_plans import (
    APART,
    EXTENSION,
    INTEGER,
    Plan,
    invariants_of,
    plan_of,
)
from fhir_hub_bridge.fhir.schema_findings import ONLY_ID, schema_findings, wrong_type


def findings_of(resource: Json, *, container: Json | None = None) -> list[Finding]:
    """Judge a resource, and each one inside it, by R4; KeyError for a type that R4 does not have.

    `container` is the resource that contains this one, if one does.
    """
    findings, is_careful = _judged(resource, resource["resourceType"], container or resource)
    if "contained" in resource:
        findings += _containing(resource, is_careful=is_careful)
    return findings


def _judged(element: Json, kind: str, resource: Json) -> tuple[list[Finding], bool]:
    """Judge by schema and by plan; tell too whether there was need of care."""
    by_schema = schema_findings(element, kind)
    is_careful = by_schema is not None
    found = _walk(element, plan_of(kind, is_careful=is_careful), resource)
    return [*(by_schema or ()), *(found or ())], is_careful


def _containing(resource: Json, *, is_careful: bool) -> Iterator[Finding]:
    """Ask what holds of resources that contain others; few do."""
    for holds, fault in invariants_of("DomainResource", is_careful=is_careful):
        if not holds(resource, resource):
            yield Finding(fault, [])


_NO_INTEGER: Final = wrong_type("integer")


def _walk(element: Json, plan: Plan, resource: Json) -> list[Finding] | None:
    """Find faults at and below an element; nothing is built where there are none."""
    found: list[Finding] | None = None
    for holds, fault in plan.invariants:
        if not holds(element, resource):
            found = [*(found or ()), Finding(fault, [])]
    for look in plan.looks:
        if (finding := look(element, resource)) is not None:
            found = [*(found or ()), finding]
    children = plan.children
    for name, value in element.items():
        if (child := children.get(name)) is None:
            continue
        # Most elements by far, settled here for the sake of speed.
        if type(value) is dict and child not in APART:
            if child.is_plain is not None and child.is_plain(value):
                continue
            below = _walk(value, child, resource)
        else:
            below = _below(value, child, name, resource)
        if below is not None:
            found = [*(found or ()), *_lifted(below, plan, name, element)]
    return found


def _below(value: Any, plan: Plan, name: str, resource: Json) -> list[Finding] | None:
    if isinstance(value, dict):
        if plan.is_plain is not None and plan.is_plain(value):
            return None
        if plan in APART:
            return _apart(value, plan, name, resource)
        return _walk(value, plan, resource)
    if isinstance(value, list):
        return _in_list(value, plan, name, resource)
    if plan is INTEGER and isinstance(value, float | Decimal):
        return [Finding(_NO_INTEGER, [])]
    return None


def _in_list(values: list[Any], plan: Plan, name: str, resource: Json) -> list[Finding] | None:
    found: list[Finding] | None = None
    for index, value in enumerate(values):
        if below := _below(value, plan, name, resource):
            for finding in below:
                finding.steps.append(index)
            found = [*(found or ()), *below]
    return found


def _apart(value: Json, plan: Plan, name: str, resource: Json) -> list[Finding] | None:
    """Judge what has a schema of its own: an extension, a contained resource, an entry's."""
    if plan is EXTENSION:
        return _judged(value, "Extension", resource)[0]
    kind = value.get("resourceType")
    if not isinstance(kind, str) or kind not in resource_types():
        return None
    return findings_of(value, container=resource if name == "contained" else None)


def _lifted(found: list[Finding], plan: Plan, name: str, element: Json) -> Iterator[Finding]:
    for finding in found:
        if name.startswith("_") and _stands_beside_value(finding, element.get(name[1:])):
            continue
        finding.steps.append(plan.names.get(name, name))
        yield finding


def _stands_beside_value(finding: Finding, value: Any) -> bool:
    """Whether an id alone stands beside a primitive's value, where it needs no extension."""
    match finding.steps:
        case [] if finding.fault is ONLY_ID:
            return value is not None
        case [int(index)] if finding.fault is ONLY_ID:
            return isinstance(value, list) and index < len(value) and value[index] is not None
    return False
