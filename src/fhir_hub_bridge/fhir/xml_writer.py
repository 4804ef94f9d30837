"""FHIR XML out: a resource as elements in the order of the standard, decimals with their text.

Before: `codec`'s JSON values. After: the API's answers. https://hl7.org/fhir/R4/xml.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NoReturn

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.xml_narrative import standing_alone
from fhir_hub_bridge.fhir.xml_shapes import FHIR, Shape, Slot, shape_of


def to_xml(resource: Json, *, indented: bool = False) -> bytes:
    """Write a resource as UTF-8, on one line or `indented` by two for a reader's eye.

    Raises ResourceRejected (code `not-supported`, rule `xml-unwritable`) where XML has no way to
    say what the JSON says: a character that XML does not know, a narrative that is not
    well-formed, or what R4 does not define.
    """
    writer = _Writer("\n" if indented else "")
    writer.write_resource(resource, f' xmlns="{FHIR}"', depth=0)
    return "".join(writer.parts).encode()


class _Writer:
    """One writing; `path` is where it is, for the sake of refusals."""

    def __init__(self, newline: str) -> None:
        self.newline = newline
        self.parts = ['<?xml version="1.0" encoding="UTF-8"?>']
        self.path: list[str] = []

    def write_resource(self, resource: Any, xmlns: str, *, depth: int) -> None:
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        if not isinstance(kind, str) or kind not in resource_types():
            self._refuse("There is no R4 resource where one belongs.")
        self.path.append(kind)
        parts = self.parts
        inside = {name: value for name, value in resource.items() if name != "resourceType"}
        parts.append(f"{self._break(depth)}<{kind}{xmlns}")
        self._write_inside(kind, inside, shape_of(kind), depth)
        self.path.pop()

    def _write_inside(self, tag: str, element: Json, shape: Shape, depth: int) -> None:
        """Write what stands in an element whose start tag is open still, and its end."""
        found: dict[Slot, None] = {}
        for name in element:
            if slot := shape.by_property.get(name):
                found[slot] = None
            elif name not in shape.attributes:
                self._refuse("R4 does not know an element that stands here.")
        if not found:
            self.parts.append("/>")
            return
        self.parts.append(">")
        for slot in sorted(found, key=_order) if len(found) > 1 else found:
            self.path.append(slot.name)
            self._write_slot(slot, element, depth + 1)
            self.path.pop()
        self.parts.append(f"{self._break(depth)}</{tag}>")

    def _write_slot(self, slot: Slot, element: Json, depth: int) -> None:
        value = element.get(slot.name)
        if slot.kind in ("element", "resource", "xhtml"):
            for each in self._each(slot, value):
                if slot.kind == "element":
                    self._write_element(slot, each, depth)
                elif slot.kind == "resource":
                    self._write_holder(slot, each, depth)
                else:
                    self._write_div(each, depth)
            return
        twin = element.get(f"_{slot.name}")
        if not slot.is_list:
            self._write_primitive(slot, value, twin, depth)
            return
        values = self._each(slot, value) if value is not None else []
        twins = self._each(slot, twin) if twin is not None else []
        for index in range(max(len(values), len(twins))):
            one = values[index] if index < len(values) else None
            beside = twins[index] if index < len(twins) else None
            self._write_primitive(slot, one, beside, depth)

    def _each(self, slot: Slot, value: Any) -> list[Any]:
        if not slot.is_list:
            return [value]
        if not isinstance(value, list):
            self._refuse("There is no list where R4 has one.")
        return value

    def _write_element(self, slot: Slot, element: Any, depth: int) -> None:
        if not isinstance(element, dict):
            self._refuse("There is a bare value where R4 has an element.")
        shape = shape_of(slot.content)
        attributes = self._attributes(element, shape)
        self.parts.append(f"{self._break(depth)}<{slot.name}{attributes}")
        self._write_inside(slot.name, element, shape, depth)

    def _write_primitive(self, slot: Slot, value: Any, twin: Any, depth: int) -> None:
        written = "" if value is None else f' value="{self._text(value)}"'
        if twin is None:
            self.parts.append(f"{self._break(depth)}<{slot.name}{written}/>")
            return
        if not isinstance(twin, dict):
            self._refuse("There is a bare value where R4 has an element.")
        shape = shape_of(slot.content)
        attributes = self._attributes(twin, shape)
        self.parts.append(f"{self._break(depth)}<{slot.name}{attributes}{written}")
        self._write_inside(slot.name, twin, shape, depth)

    def _write_holder(self, slot: Slot, resource: Any, depth: int) -> None:
        self.parts.append(f"{self._break(depth)}<{slot.name}>")
        self.write_resource(resource, "", depth=depth + 1)
        self.parts.append(f"{self._break(depth)}</{slot.name}>")

    def _write_div(self, div: Any, depth: int) -> None:
        written = standing_alone(div) if isinstance(div, str) else None
        if written is None:
            self._refuse("A narrative is not well-formed XHTML.")
        self.parts.append(f"{self._break(depth)}{written}")

    def _attributes(self, element: Json, shape: Shape) -> str:
        pairs = ((name, element[name]) for name in shape.attributes if name in element)
        return "".join(f' {name}="{self._text(value)}"' for name, value in pairs)

    def _text(self, value: Any) -> str:
        """A primitive's value as it stands in an attribute."""
        if isinstance(value, str):
            return _SPECIAL.sub(self._escaped, value) if _SPECIAL.search(value) else value
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, int | Decimal):
            self._refuse("There is no value where R4 has one.")
        return str(value)

    def _escaped(self, special: re.Match[str]) -> str:
        if special[0] not in _ESCAPES:
            self._refuse("A text holds a character that XML does not know.")
        return _ESCAPES[special[0]]

    def _break(self, depth: int) -> str:
        return self.newline + "  " * depth if self.newline else ""

    def _refuse(self, message: str) -> NoReturn:
        issue = Issue(_place(self.path), message, code="not-supported", rule="xml-unwritable")
        raise ResourceRejected(issues=[issue])


# What an attribute's value may not hold as it is: reading would turn white space into blanks.
_SPECIAL: Final = re.compile('[&<>"\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_ESCAPES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


def _order(slot: Slot) -> int:
    return slot.order


def _place(path: Iterable[str]) -> str:
    """FHIRPath of where the writing is, without the types of resources inside others."""
    kind, *steps = path or ("",)
    return ".".join([kind, *(step for step in steps if step not in resource_types())])
