"""How each R4 type is written in XML: which tags, in what order, and what stands in attributes.

Read from the definitions, once for each type. After: `xml_reader`, `xml_writer`.
https://hl7.org/fhir/R4/xml.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, TypeAlias

from fhir_hub_bridge.fhir.definitions import Element, ElementType, primitive_types, structure
from fhir_hub_bridge.fhir.xml_narrative import XHTML

FHIR: Final = "http://hl7.org/fhir"

Kind: TypeAlias = Literal["text", "boolean", "integer", "decimal", "xhtml", "element", "resource"]


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """An element as a type may have it, for each of its types one.

    `order` is its place among its siblings, the same for all types of a choice. `content` names
    the shape of what is below it; of a primitive that is what may stand beside its value.
    """

    name: str
    order: int
    kind: Kind
    is_list: bool
    content: str


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A type, or an element with elements of its own.

    `by_tag` finds the elements by their names with the namespace, as Expat gives them;
    `by_property` by those of JSON, `_name` included. `attributes` are no elements in XML.
    """

    attributes: tuple[str, ...]
    by_tag: Mapping[str, Slot]
    by_property: Mapping[str, Slot]


@cache
def shape_of(path: str) -> Shape:
    """The shape of a type (`Task`) or of an element (`Task.input`).

    Raises KeyError for a type that R4 has not.
    """
    owner = structure(path.partition(".")[0])
    attributes = []
    slots = []
    for order, element in enumerate(owner.children(path if "." in path else "")):
        if _is_attribute(element):
            attributes.append(element.name)
        elif element.max != 0:
            types = element.types or (ElementType(""),)
            slots += [_slot(element, element_type, order) for element_type in types]
    twins = {f"_{slot.name}": slot for slot in slots if slot.kind in _WITH_TWIN}
    return Shape(
        attributes=tuple(attributes),
        by_tag={f"{XHTML if s.kind == 'xhtml' else FHIR} {s.name}": s for s in slots},
        by_property={slot.name: slot for slot in slots} | twins,
    )


_KINDS: Final[Mapping[str, Kind]] = {
    "boolean": "boolean",
    "integer": "integer",
    "positiveInt": "integer",
    "unsignedInt": "integer",
    "decimal": "decimal",
    "xhtml": "xhtml",
    "Resource": "resource",
}
_WITH_TWIN: Final = ("text", "boolean", "integer", "decimal")


def _is_attribute(element: Element) -> bool:
    """Whether it is an element's id or an extension's url; a resource's id is of type id."""
    is_id = element.name == "id" and element.types[0].code != "id"
    return is_id or element.path == "Extension.url"


def _slot(element: Element, element_type: ElementType, order: int) -> Slot:
    code = element_type.code
    is_primitive = code in primitive_types()
    has_own = structure(element.path.partition(".")[0]).children(element.path)
    content = element.content or (element.path if has_own else code)
    return Slot(
        name=element.json_name(element_type),
        order=order,
        kind=_KINDS.get(code, "text" if is_primitive else "element"),
        is_list=element.is_list,
        content="Element" if is_primitive else content,
    )
