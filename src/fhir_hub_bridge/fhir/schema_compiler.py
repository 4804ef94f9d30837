"""StructureDefinitions as JSON Schema, compiled: the part of R4 that a schema can say, fast.

A resource inside another, and an extension, have schemas of their own, for `inspection` to ask;
else each type's schema would hold all of R4's. Before: `definitions`, `primitives`.
https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import jsonschema_rs

from fhir_hub_bridge.fhir.definitions import (
    Element,
    ElementType,
    codes_of,
    primitive_types,
    resource_types,
    structure,
)
from fhir_hub_bridge.fhir.primitives import PRIMITIVES, Schema

LOOK_CLOSER: Final = "look-closer"
"""The rule of what is wrong only perhaps: `inspection` has the last word."""

# Keywords of ours, which JSON Schema passes over and `schema_findings` reads: `rule` names what is
# broken where a node says no, `element` is a property's (or a choice's) name in FHIRPath.


@cache
def validator_of(kind: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema of a resource or data type; 5 to 10 ms and 1 to 2 MB at the first call.

    Raises KeyError for a type that R4 does not have.
    """
    return compiled(schema_of(kind))


def compiled(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    """Compile a schema with the linear engine for its expressions, and nothing fetched."""
    linear = jsonschema_rs.RegexOptions()
    return jsonschema_rs.Draft202012Validator(schema, pattern_options=linear, offline=True)


@cache
def schema_of(kind: str) -> Schema:
    """The schema of a type, with `$defs` of all that its elements may hold, by type and path."""
    # Inside an extension, extensions are part of its own schema.
    definitions = {} if kind == "Extension" else {"Extension": _ANY_OBJECT}
    waiting = [kind]
    while waiting:
        name = waiting.pop()
        if name not in definitions:
            definitions[name] = _definition(name)
            waiting.extend(_referred(definitions[name]))
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "$ref": _DEFS + kind, "$defs": definitions}


_DEFS: Final = "#/$defs/"
_TYPE: Final = "resourceType"
_ANY_OBJECT: Final[Schema] = {"type": "object"}
# An element that has nothing but an id says nothing.
_MORE_THAN_ID: Final = {"id": {"minProperties": 2, "rule": "ele-1"}}


@cache
def _definition(name: str) -> Schema:
    """Write a type (`HumanName`) or an element that has elements of its own (`Task.input`)."""
    if name in PRIMITIVES:
        return PRIMITIVES[name]
    if name in ("Resource", "DomainResource"):
        known = {"enum": sorted(resource_types()), "rule": "resource-type"}
        return {"type": "object", "properties": {_TYPE: known}, "required": [_TYPE]}
    if name.startswith(_REFERENCE_TO):
        return _reference_to(name.removeprefix(_REFERENCE_TO))
    owner = structure(name.partition(".")[0])
    if owner.kind == "resource" and name == owner.name:
        return _object(owner.children(), of={_TYPE: {"const": name, "rule": "resource-type"}})
    schema = _object(owner.children(name), of={}) | {"minProperties": 1}
    # What stands beside a primitive may be an id alone, if there is a value: see `inspection`.
    return schema if name == "Element" else schema | {"dependentSchemas": _MORE_THAN_ID}


_REFERENCE_TO: Final = "Reference-to-"


def _reference_to(targets: str) -> Schema:
    """A Reference to one of some types, as nearly all are: Type/id there or here, or a urn.

    Any other is no fault yet, but for a closer look.
    """
    schema = _definition("Reference")
    kinds = "|".join(targets.split("-") if targets else sorted(resource_types()))
    an_id = "[A-Za-z0-9.-]{1,64}"
    local = rf"(?:https?://[^\s]+/)?(?:{kinds})/{an_id}(?:/_history/{an_id})?"
    pattern = rf"^(?:{local}|urn:(?:uuid|oid):[^\s]+)$"
    literal = {"$ref": f"{_DEFS}string", "pattern": pattern, "rule": LOOK_CLOSER}
    return schema | {"properties": schema["properties"] | {"reference": literal}}


def _object(elements: tuple[Element, ...], *, of: Mapping[str, Schema]) -> Schema:
    properties = dict(of)
    required = [*of]
    rules: list[Schema] = []
    for element in elements:
        names = [*_add_properties(element, properties)]
        if element.path == "Extension.value[x]":
            either = [_given(name, properties) for name in ("extension", *names)]
            rules.append({"oneOf": either, "rule": "ext-1"})
        elif len(names) > 1:
            rules.append(_choice(element, [_given(name, properties) for name in names]))
        elif element.min and f"_{names[0]}" in properties:
            rules.append(_given(names[0], properties))
        elif element.min:
            required += names
    if len(rules) == 1 and len(rules[0].get("oneOf", ())) >= _LONG_CHOICE:
        single = {e.name for e in elements if not e.is_choice and e.path != "Extension.extension"}
        rules = [_with_short_cut(rules[0], required=required, optional=single - {*required})]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return (
        schema | ({"required": required} if required else {}) | ({"allOf": rules} if rules else {})
    )


def _with_short_cut(choice: Schema, *, required: list[str], optional: set[str]) -> Schema:
    """Spare Extension, Task.input and their like, with their 50 types, a look at each of them.

    An object with its required elements, none of the optional ones and one property more has made
    its choice, and only once.
    """
    size = len(required) + 1
    none_optional = dict.fromkeys(sorted(optional), False)
    short = {"minProperties": size, "maxProperties": size, "properties": none_optional}
    mark = {key: value for key, value in choice.items() if key != "oneOf"}
    return {"anyOf": [short, {"oneOf": choice["oneOf"]}]} | mark


_LONG_CHOICE: Final = 20


def _add_properties(element: Element, properties: dict[str, Schema]) -> Iterator[str]:
    """Add the JSON properties that an element may have, and yield their names."""
    if element.max == 0:
        properties[element.name] = {"not": {}, "rule": "element-unknown"}
        return
    for element_type in element.types or (ElementType(""),):
        name = element.json_name(element_type)
        mark = {"element": element.name}
        properties[name] = _repeated(element, _type_schema(element, element_type)) | mark
        if _has_twin(element, element_type):
            properties[f"_{name}"] = _repeated(element, {"$ref": f"{_DEFS}Element"}) | mark
        yield name


def _type_schema(element: Element, element_type: ElementType) -> Schema:
    code = element_type.name
    if element.content:
        return {"$ref": _DEFS + element.content}
    if code in ("BackboneElement", "Element"):
        owner = structure(element.path.partition(".")[0])
        return {"$ref": _DEFS + (element.path if owner.children(element.path) else code)}
    if code == "Reference":
        return {"$ref": _DEFS + _REFERENCE_TO + "-".join(element_type.targets)}
    codes = codes_of(element.binding) if element.strength == "required" else None
    if codes is not None and code == "code":
        listed = sorted({code for system in codes.values() for code in system})
        return {"enum": listed, "rule": "required-code"}
    if codes is not None and code == "CodeableConcept":
        return {"$ref": _DEFS + code} | _one_coding_of(codes)
    return {"$ref": _DEFS + code}


def _one_coding_of(codes: Mapping[str, frozenset[str]]) -> Schema:
    """A concept must have a coding of the value set, and may have others beside it."""
    known = [
        {
            "properties": {"system": {"const": system}, "code": {"enum": sorted(listed)}},
            "required": ["system", "code"],
        }
        for system, listed in codes.items()
    ]
    rule = {"rule": "required-code"}
    return {
        "properties": {"coding": {"contains": {"anyOf": known}} | rule},
        # A text alone is no code; only an extension may say why there is none.
        "dependentSchemas": {"text": {"required": ["coding"]} | rule},
    }


def _repeated(element: Element, schema: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": schema} if element.is_list else schema


def _has_twin(element: Element, element_type: ElementType) -> bool:
    """Whether `_name` may tell a primitive's id and extensions; XML attributes have none."""
    is_attribute = element.path == "Extension.url" or (
        element.name == "id" and element_type.code == "string"
    )
    return element_type.code in primitive_types() and not is_attribute


def _given(name: str, properties: Mapping[str, Schema]) -> Schema:
    """That an element is there: a value, or for a primitive just what is said about it."""
    if f"_{name}" not in properties:
        return {"required": [name]}
    either = [{"required": [name]}, {"required": [f"_{name}"]}]
    return {"anyOf": either, "rule": "element-required", "element": name}


def _choice(element: Element, given: list[Schema]) -> Schema:
    """At most one of the types, or just one where the element is required."""
    none = [] if element.min else [{"not": {"anyOf": given}}]
    return {"oneOf": [*given, *none], "rule": "element-choice", "element": element.name}


def _referred(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(_DEFS)
        for child in schema.values():
            yield from _referred(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _referred(child)
