"""A part of a resource, where a search asks for a summary or for some elements only.

What is left out may not be missed by who reads it: mandatory elements and those that modify others
stay, and the tag SUBSETTED says so. https://hl7.org/fhir/R4/search.html#summary
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import Element, structure

_Choice: TypeAlias = Callable[[Element], bool]

SUBSETTED: Final[Mapping[str, str]] = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}


def summarised(resource: Json, summary: str = "", elements: Collection[str] = ()) -> Json:
    """The part of a resource that `_summary` or `_elements` asks for; the input stays.

    `summary` is `true`, `text` or `data`, of any other nothing is left out; `elements` are names
    right below the resource, which `_summary` goes before.
    """
    kind = resource["resourceType"]
    match summary:
        case "true":
            part = _part(resource, kind, kind, _is_in_summary)
        case "text":
            part = _part(resource, kind, kind, lambda element: element.name == "text")
        case "data":
            part = {name: value for name, value in resource.items() if name != "text"}
        case _ if elements:
            part = _part(resource, kind, kind, lambda element: element.name in elements)
        case _:
            return resource
    meta = part.get("meta", {})
    tags = [tag for tag in meta.get("tag", ()) if tag.get("code") != SUBSETTED["code"]]
    return {**part, "meta": {**meta, "tag": [*tags, dict(SUBSETTED)]}}


_ALWAYS: Final = ("id", "meta")


def _is_in_summary(element: Element) -> bool:
    return element.is_summary


def _part(value: Json, kind: str, path: str, chosen: _Choice) -> Json:
    """The chosen properties, and those that the others cannot do without."""
    properties = _properties(kind, path)
    is_resource = path == kind
    part = {}
    for name, below in value.items():
        element = properties.get(name.removeprefix("_"))
        if name == "resourceType":
            part[name] = below
        elif element is not None and (
            chosen(element)
            or element.min
            or element.is_modifier
            or (is_resource and name in _ALWAYS)
        ):
            part[name] = _inner_part(below, kind, element, chosen)
    return part


def _inner_part(value: Any, kind: str, element: Element, chosen: _Choice) -> Any:
    """Of what a resource defines itself the chosen part, of a data type all."""
    is_inner = element.content or element.types[0].code == "BackboneElement"
    if not is_inner or chosen is not _is_in_summary:
        return value
    path = element.content or element.path
    if isinstance(value, list):
        return [_part(item, kind, path, chosen) for item in value]
    return _part(value, kind, path, chosen)


@cache
def _properties(kind: str, path: str) -> Mapping[str, Element]:
    return {
        name: element
        for element in structure(kind).children(path)
        for name in [element.name, *(element.json_name(found) for found in element.types)]
    }
