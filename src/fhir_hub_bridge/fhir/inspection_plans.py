"""What to ask of each element of a resource type that no schema says, settled once per type.

A plan is to the walk of `inspection` what a compiled schema is to JSON Schema. Before:
`definitions`, `type_invariants`, `resource_invariants`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Final, TypeAlias

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import (
    Element,
    ElementType,
    primitive_types,
    structure,
)
from fhir_hub_bridge.fhir.findings import Fault, Finding
from fhir_hub_bridge.fhir.narrative import has_content, is_safe
from fhir_hub_bridge.fhir.reference_rules import reference_look
from fhir_hub_bridge.fhir.resource_invariants import RESOURCE_INVARIANTS
from fhir_hub_bridge.fhir.schema_findings import ONLY_ID
from fhir_hub_bridge.fhir.type_invariants import TYPE_INVARIANTS, Invariant
from fhir_hub_bridge.fhir.xml_narrative import standing_alone

# Something to look at in an element, given the resource around it.
Look: TypeAlias = Callable[[Json, Json], Finding | None]

INVARIANTS: Final = MappingProxyType({**TYPE_INVARIANTS, **RESOURCE_INVARIANTS})
ACTIVE_NARRATIVE: Final = Fault(
    "narrative-safe",
    "A narrative is plain XHTML without scripts, forms, frames or event attributes.",
    "invariant",
)
BROKEN_NARRATIVE: Final = Fault("txt-1", "A narrative must be one well-formed div.", "invariant")
EMPTY_NARRATIVE: Final = Fault("txt-2", "A narrative must have something to read.", "invariant")


@dataclass(slots=True, eq=False)
class Plan:
    """What to ask of an element of one type, and which of its elements to go into.

    `names` are the FHIRPath names of those that JSON calls otherwise: `valueDate`, `_given`.
    `is_plain` tells at a glance that all is well with an element as most are, and all below it.
    """

    invariants: tuple[tuple[Invariant, Fault], ...] = ()
    looks: tuple[Look, ...] = ()
    children: dict[str, Plan] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    is_plain: Callable[[Json], bool] | None = None


# Marks in a plan's place: a number that may have no fraction, and what has a plan of its own.
INTEGER: Final = Plan()
RESOURCE: Final = Plan()
EXTENSION: Final = Plan()
APART: Final = (RESOURCE, EXTENSION)


@cache
def plan_of(kind: str, *, is_careful: bool = False) -> Plan:
    """The plan for a resource type, or for Extension.

    A careful one is for resources that are not plainly right by their schema: it leaves nothing
    out, and where an invariant stumbles over what is malformed, it holds.
    """
    plans = {"Resource": RESOURCE, "DomainResource": RESOURCE}
    if kind != "Extension":
        plans["Extension"] = EXTENSION
    _planned("Element", plans)
    plan = _planned(kind, plans)
    if is_careful:
        for each in plans.values():
            each.invariants = tuple((_careful(holds), fault) for holds, fault in each.invariants)
            each.looks = tuple(_careful_look(look) for look in each.looks)
            each.is_plain = None
    return plan


@cache
def invariants_of(path: str, *, is_careful: bool = False) -> tuple[tuple[Invariant, Fault], ...]:
    """The invariants of an element, or of a data type and those that it is built on."""
    owner = structure(path.partition(".")[0])
    constraints = [*owner.constraints, *(c for e in owner.elements for c in e.constraints)]
    humans = {constraint.key: constraint.human for constraint in constraints}
    own = tuple(
        (_careful(holds) if is_careful else holds, Fault(key, humans[key], "invariant"))
        for key, holds in INVARIANTS.get(path, {}).items()
    )
    is_data_type = path == owner.name and owner.kind != "resource" and owner.base
    return own + invariants_of(owner.base, is_careful=is_careful) if is_data_type else own


def _planned(path: str, plans: dict[str, Plan]) -> Plan:
    """Find the plan of a type, or of an element with elements of its own, or make it."""
    if path in plans:
        return plans[path]
    looks = {"Narrative": (_look_at_narrative,), "Element": (_look_beside_primitive,)}
    plans[path] = plan = Plan(invariants_of(path), looks.get(path, ()))
    plan.is_plain = _is_plain_concept if path == "CodeableConcept" else None
    for element in structure(path.partition(".")[0]).children(path if "." in path else ""):
        for element_type in element.types or (ElementType(""),):
            _add_child(plan, element, element_type, plans)
    return plan


def _add_child(
    plan: Plan, element: Element, element_type: ElementType, plans: dict[str, Plan]
) -> None:
    name = element.json_name(element_type)
    plan.names[name] = element.name
    if element_type.code in primitive_types():
        if element_type.code in _WHOLE_NUMBERS:
            plan.children[name] = INTEGER
        plan.children[f"_{name}"] = plans["Element"]
        plan.names[f"_{name}"] = element.name
        return
    path = _content_path(element, element_type)
    child = _reference_plan(element_type, plans) if path == "Reference" else _planned(path, plans)
    if path != element.path and element.path in INVARIANTS:
        # What is said of an element, not of its type: an organization's telecom is no home's.
        invariants = child.invariants + invariants_of(element.path)
        child = Plan(invariants, child.looks, child.children, child.names)
        plans[element.path] = child
    plan.children[name] = child


_WHOLE_NUMBERS: Final = ("integer", "positiveInt", "unsignedInt")


def _content_path(element: Element, element_type: ElementType) -> str:
    has_own = structure(element.path.partition(".")[0]).children(element.path)
    return element.content or (element.path if has_own else element_type.name)


def _reference_plan(element_type: ElementType, plans: dict[str, Plan]) -> Plan:
    name = f"Reference({'|'.join(element_type.targets)})"
    if name not in plans:
        any_reference = _planned("Reference", plans)
        look = reference_look(element_type.targets)
        plans[name] = Plan((), (look,), any_reference.children, any_reference.names)
        plans[name].is_plain = _is_plain_reference
    return plans[name]


def _look_at_narrative(narrative: Json, _: Json) -> Finding | None:
    div = narrative.get("div", "")
    if not is_safe(div):
        return Finding(ACTIVE_NARRATIVE, ["div"])
    if div and not has_content(div):
        return Finding(EMPTY_NARRATIVE, ["div"])
    return Finding(BROKEN_NARRATIVE, ["div"]) if div and standing_alone(div) is None else None


def _look_beside_primitive(element: Json, _: Json) -> Finding | None:
    return None if "extension" in element else Finding(ONLY_ID, [])


_CONCEPT: Final = frozenset({"coding", "text"})
_CODING: Final = frozenset({"system", "version", "code", "display", "userSelected"})


_REFERENCE: Final = frozenset({"reference", "display"})


def _is_plain_reference(reference: Json) -> bool:
    """Whether a reference has nothing but what the schema has found plainly right."""
    return reference.keys() <= _REFERENCE


def _is_plain_concept(concept: Json) -> bool:
    """Whether a concept has no extensions: nothing else can be wrong that a schema lets pass."""
    if not concept.keys() <= _CONCEPT:
        return False
    for coding in concept.get("coding", ()):  # noqa: SIM110 - all() costs as much again
        if not coding.keys() <= _CODING:
            return False
    return True


_STUMBLES: Final = (AttributeError, KeyError, TypeError, ValueError, ResourceRejected)


def _careful(invariant: Invariant) -> Invariant:
    def holds(element: Json, resource: Json) -> bool:
        try:
            return invariant(element, resource)
        except _STUMBLES:
            return True

    return holds


def _careful_look(look: Look) -> Look:
    def find(element: Json, resource: Json) -> Finding | None:
        try:
            return look(element, resource)
        except _STUMBLES:
            return None

    return find
