"""The typed form of a resource, for library users: the R4B classes of `fhir.resources`.

The library has no R4, and R4B is the nearest to it. Importing its classes is slow, so it happens
at the first call, type by type. After: `validation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from fhir_hub_bridge.fhir.codec import Json


def to_typed(resource: Json) -> Any:
    """Load a resource into its R4B class.

    Raises pydantic's ValidationError if it does not fit, KeyError for a type that R4B has not.
    """
    return model_class(resource["resourceType"]).model_validate(resource)


def from_typed(model: Any) -> Json:
    """Write a typed resource as JSON values.

    Decimals keep their digits; dates and instants come out in the classes' own spelling.
    """
    resource: Json = _with_decimals(model.model_dump(mode="json"), model)
    return resource


@cache
def model_class(kind: str) -> Any:
    """Import the R4B class of a resource type; KeyError for a type that R4B does not have."""
    from fhir.resources.R4B import get_fhir_model_class

    return get_fhir_model_class(kind)


@cache
def element_names(model_type: Any) -> Mapping[str, str]:
    """Map the JSON names of a class's elements to its attributes (`for` to `for_fhir`)."""
    fields = model_type.model_fields.items()
    # fhir_comments is the library's own; FHIR R4 has no such element.
    return {field.alias or name: name for name, field in fields if name != "fhir_comments"}


def _with_decimals(dumped: Any, model: Any) -> Any:
    """Put the decimals back that the library wrote as binary floats."""
    if isinstance(model, Decimal):
        return model
    if isinstance(dumped, list):
        return [_with_decimals(item, part) for item, part in zip(dumped, model, strict=True)]
    if not isinstance(dumped, dict):
        return dumped
    names = element_names(model.__class__)
    return {
        key: _with_decimals(value, getattr(model, names[key])) if key in names else value
        for key, value in dumped.items()
    }
