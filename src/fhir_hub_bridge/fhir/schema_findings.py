"""What a compiled schema refuses, in FHIR's words: which rule, at which element.

Read only when a resource is refused; a good one costs one question.
Before: `schema_compiler`. After: `validation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, ValidationError

from fhir_hub_bridge.fhir.codec import ExactDecimal, Json
from fhir_hub_bridge.fhir.findings import Fault, Finding, Step
from fhir_hub_bridge.fhir.primitives import Schema
from fhir_hub_bridge.fhir.schema_compiler import LOOK_CLOSER, schema_of, validator_of

EMPTY_OBJECT: Final = Fault("json-empty", "An object may not be empty.")
EMPTY_ARRAY: Final = Fault("json-empty", "An array may not be empty.")
EMPTY_VALUE: Final = Fault("json-empty", "A value may not be empty.")
NULL: Final = Fault("json-empty", "A value may not be null.")
UNKNOWN: Final = Fault("element-unknown", "There is no such element here.")
REQUIRED: Final = Fault("element-required", "The element is required.", "required")
UNREADABLE: Final = Fault("element-type", "The resource cannot be read as FHIR.")
NO_ARRAY: Final = Fault("element-type", "The element may repeat, so it is an array.", "value")
ID: Final = Fault("resource-id", "An id is 1 to 64 letters, digits, hyphens and dots.", "value")
NO_SUCH_TYPE: Final = Fault("resource-type", "It is a resource of a type that FHIR does not have.")
ONE_CHOICE: Final = Fault(
    "element-choice", "Exactly one of the element's choices of type is required.", "required"
)
CHOICES: Final = Fault("element-choice", "The element may have only one of its choices of type.")
ONLY_ID: Final = Fault("ele-1", "An element must have a value or children.", "invariant")
EXTENSION: Final = Fault("ext-1", "An extension has either extensions or one value.", "invariant")


def wrong_type(name: str) -> Fault:
    """That a value is not what a data type takes."""
    return Fault("element-type", f"The value does not fit the element's type, {name}.", "value")


def schema_findings(resource: Json, kind: str) -> list[Finding] | None:
    """Judge a resource of a type that R4 has by its schema.

    None if it is plainly right; a list, be it empty, if each of its elements needs a closer look.
    Raises KeyError for another type.
    """
    validator = validator_of(kind)
    if _takes(validator, resource):
        return None
    # The validator takes no subclass of Decimal, and a number's digits are no matter to it.
    plain = _with_plain_numbers(resource)
    if _takes(validator, plain):
        return None
    try:
        errors = [*validator.iter_errors(plain)]
    except ValueError:
        return [Finding(UNREADABLE, [])]
    return [finding for error in errors for finding in _findings(error, plain, kind)]


def _takes(validator: Draft202012Validator, value: Json) -> bool:
    try:
        return validator.is_valid(value)
    except ValueError:
        return False


def _with_plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_plain_numbers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_plain_numbers(child) for child in value]
    # Written with a fraction or an exponent, so never an integer, whatever it amounts to.
    return _A_FRACTION if isinstance(value, ExactDecimal) else value


_A_FRACTION: Final = 0.5


def _findings(error: ValidationError, resource: Json, kind: str) -> Iterator[Finding]:
    node: Any = schema_of(kind)
    for step in error.schema_path[:-1]:
        node = node[step]
    path = error.instance_path
    if _at(resource, path) is None:
        if not _fills_gap(resource, path):
            yield Finding(NULL, _steps(kind, path))
        return
    match error.kind.name:
        case "pattern" if node.get("rule") == LOOK_CLOSER:
            return
        case "required":
            name = error.kind.value
            if name == "resourceType":
                yield Finding(NO_SUCH_TYPE, _steps(kind, path))
            elif node.get("rule") == "required-code":
                yield Finding(_code_fault(node), _steps(kind, path))
            else:
                yield Finding(REQUIRED, [name, *_steps(kind, path)])
        case "additionalProperties":
            for name in error.kind.value:
                yield Finding(UNKNOWN, [name, *_steps(kind, path)])
        case "oneOf" | "anyOf":
            yield from _choice_findings(error.kind.name, node, _steps(kind, path))
        case keyword:
            steps = _steps(kind, path)
            fault = _value_fault(keyword, node, error)
            yield Finding(fault, steps[1:] if fault is NO_SUCH_TYPE else steps)


def _choice_findings(keyword: str, node: Schema, steps: list[Step]) -> Iterator[Finding]:
    match node["rule"]:
        case "ext-1":
            yield Finding(EXTENSION, steps)
        case "element-required":
            yield Finding(REQUIRED, [node["element"], *steps])
        case "element-choice":
            alternatives = node["oneOf"] if keyword == "oneOf" else node["anyOf"][-1]["oneOf"]
            is_required = "not" not in alternatives[-1]
            yield Finding(ONE_CHOICE if is_required else CHOICES, [node["element"], *steps])


def _value_fault(keyword: str, node: Schema, error: ValidationError) -> Fault:
    rule = node.get("rule", "")
    match keyword:
        case "minItems":
            return EMPTY_ARRAY
        case "minProperties":
            return ONLY_ID if rule == "ele-1" else EMPTY_OBJECT
        case "enum" | "contains" if rule == "required-code":
            return _code_fault(node)
        case "not":
            return UNKNOWN
        case "enum" | "const" if rule == "resource-type":
            return NO_SUCH_TYPE
    if isinstance(error.instance, str) and not error.instance.strip():
        return EMPTY_VALUE
    if rule == "resource-id" and isinstance(error.instance, str):
        return ID
    match error.schema_path:
        case ["$defs", str(name), _]:
            # `Reference-to-Patient` is a Reference.
            return wrong_type(name.partition("-")[0])
    return NO_ARRAY


def _code_fault(node: Schema) -> Fault:
    codes = node.get("enum", ())
    message = "The code is not of the value set that the element is bound to."
    if 0 < len(codes) <= _MOST_CODES_TOLD:
        message = f"The code must be one of {', '.join(codes)}."
    return Fault("required-code", message, "code-invalid")


_MOST_CODES_TOLD: Final = 40


def _at(resource: Json, path: Sequence[Step]) -> Any:
    value: Any = resource
    for step in path:
        value = value[step]
    return value


def _fills_gap(resource: Json, path: Sequence[Step]) -> bool:
    """Whether a null stands in one of two paired arrays, `given` and `_given`, across a value."""
    match path:
        case [*above, str(name), int(index)]:
            twin = _at(resource, above).get(name[1:] if name.startswith("_") else f"_{name}")
            return isinstance(twin, list) and index < len(twin) and twin[index] is not None
    return False


def _steps(kind: str, path: Sequence[Step]) -> list[Step]:
    """Turn a JSON path into FHIRPath steps, innermost first: `_valueDate` is `value`."""
    definitions = schema_of(kind)["$defs"]
    node = definitions[kind]
    steps: list[Step] = []
    for step in path:
        if isinstance(step, int):
            steps.append(step)
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(step, {})
            steps.append(node.get("element", step))
        node = definitions.get(str(node.get("$ref", "")).rpartition("/")[2], node)
    return steps[::-1]
