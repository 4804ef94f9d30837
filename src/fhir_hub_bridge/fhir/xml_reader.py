"""FHIR XML in: bytes become the very JSON value that the JSON form would have given.

One pass of Expat, the definitions telling what each tag is. Nothing that could reach out of the
document or grow inside of it is taken: no DTD, no entities, no processing instructions.
Before: the client's bytes. After: `codec`, `validation`. https://hl7.org/fhir/R4/xml.html
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import DEFAULT_LIMITS, Json, Limits, exact_decimal
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.xml_narrative import DivWriter, is_alone
from fhir_hub_bridge.fhir.xml_shapes import FHIR, Kind, Shape, Slot, shape_of


def parse_xml(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Json:
    """Read one resource, strictly; UTF-8, or UTF-16 with its byte order mark.

    Refused, each as ResourceRejected with one Issue of code `structure` that names place and rule:
    too large or deep, DTDs and processing instructions, what is not well-formed, unknown tags and
    attributes, elements out of order or too often, text between them, empty ones, numbers and
    booleans that JSON could not write. No text of the body comes back in a message.
    """
    if len(data) > limits.size_bytes:
        _refuse("body-size", f"The body is larger than {limits.size_bytes} bytes.")
    return _Reader(_as_utf8(data), limits).read()


def _as_utf8(data: bytes) -> bytes:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16").encode()
        except UnicodeDecodeError:
            _refuse("xml-encoding", "The body is not the UTF-16 that it begins as.")
    return data.removeprefix(codecs.BOM_UTF8)


@dataclass(slots=True, eq=False)
class _Frame:
    """An element that is open; without a shape, one that holds a whole resource.

    `last` is the element read last inside of it, `depth` how deep its JSON lies.
    """

    slot: Slot | None
    shape: Shape | None
    depth: int
    json: Json = field(default_factory=dict)
    value: Any = None
    last: Slot | None = None
    has_gaps: bool = False


class _Reader:
    """One reading: the elements that are open, outermost first."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.open = [_Frame(None, None, depth=1)]
        self.div = DivWriter()
        self.div_at = 0
        self.parser = parser = ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = self._doctype
        parser.ProcessingInstructionHandler = self._instruction
        self._expect_elements()

    def read(self) -> Json:
        try:
            self.parser.Parse(self.data, True)
        except ExpatError as error:
            place = f"line {error.lineno}, column {error.offset + 1}"
            why = ErrorString(error.code)
            _refuse("xml-syntax", f"The body is not well-formed XML: {why}.", place=place)
        finally:
            # The parser holds on to this reader; neither shall wait for the garbage collector.
            del self.parser
        return self.open[0].json

    def _expect_elements(self) -> None:
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _declared(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and encoding.lower() not in ("utf-8", "utf-16", "us-ascii"):
            _refuse("xml-encoding", "The body must be UTF-8 or UTF-16.", place=self._line())

    def _doctype(self, *_: object) -> None:
        message = "A document type declaration, and so any entity of one's own, is not taken."
        _refuse("xml-dtd", message, place=self._line())

    def _instruction(self, *_: object) -> None:
        message = "Processing instructions are not taken."
        _refuse("xml-instruction", message, place=self._line())

    def _text(self, text: str) -> None:
        if text.strip(" \t\r\n"):
            self._refuse("xml-text", "Text stands in `value` attributes, not between elements.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        frame = self.open[-1]
        if frame.shape is None:
            self._start_resource(frame, tag, attributes)
            return
        slot = frame.shape.by_tag.get(tag)
        if slot is None:
            self._refuse_tag(tag)
        if frame.last is not None and slot.order <= frame.last.order:
            self._check_turn(slot, frame.last)
        frame.last = slot
        if slot.kind == "xhtml":
            self._start_div(tag, attributes)
            return
        shape = None if slot.kind == "resource" else shape_of(slot.content)
        opened = _Frame(slot, shape, frame.depth + (2 if slot.is_list else 1))
        self.open.append(opened)
        if slot.kind in ("element", "resource"):
            # As deep as the JSON form would be, so that both forms have the same limit.
            if opened.depth > self.limits.depth:
                self._refuse("xml-depth", f"Elements are nested deeper than {self.limits.depth}.")
        elif "value" in attributes:
            opened.value = self._value(slot.kind, attributes.pop("value"))
        if attributes:
            self._take_attributes(opened, attributes)

    def _start_resource(self, frame: _Frame, tag: str, attributes: dict[str, str]) -> None:
        namespace, _, kind = tag.rpartition(" ")
        if namespace != FHIR:
            self._refuse_tag(tag)
        if frame.json:
            self._refuse("xml-resource", "There is more than one resource where one belongs.")
        if kind not in resource_types():
            self._refuse("xml-resource", "What stands in a resource's place is no R4 resource.")
        self.open.append(_Frame(None, shape_of(kind), frame.depth, {"resourceType": kind}))
        attributes.pop(_SCHEMA_LOCATION, None)
        if attributes:
            self._take_attributes(self.open[-1], attributes)

    def _take_attributes(self, frame: _Frame, attributes: dict[str, str]) -> None:
        allowed = frame.shape.attributes if frame.shape else ()
        for name, value in attributes.items():
            if name not in allowed:
                self._refuse("xml-attribute", "There is an attribute that R4 does not know here.")
            if not value:
                self._refuse("xml-value", "An attribute may not be empty.")
            frame.json[name] = value

    def _check_turn(self, slot: Slot, last: Slot) -> None:
        if slot.order < last.order:
            message = "Elements stand in the order of R4's definitions; this one comes too late."
            self._refuse("xml-order", message, step=slot.name)
        if slot is not last:
            message = "This element may have one of its types only."
            self._refuse("xml-choice", message, step=slot.name)
        if not slot.is_list:
            self._refuse("xml-repeated", "This element may be there once only.", step=slot.name)

    def _value(self, kind: Kind, text: str) -> Any:
        """The JSON value of a `value` attribute."""
        value: Any = None
        if kind == "text":
            value = text or None
        elif kind == "boolean":
            value = _BOOLEANS.get(text)
        elif len(text) > self.limits.number_digits:
            value = None
        elif kind == "integer" and _INTEGER.fullmatch(text):
            value = int(text)
        elif kind == "decimal" and _DECIMAL.fullmatch(text):
            is_whole = text.lstrip("-").isdecimal()
            value = int(text) if is_whole else exact_decimal(text, self.limits)
        if value is None:
            what = "may not be empty" if kind == "text" else f"is no {kind} of R4"
            self._refuse("xml-value", f"The value {what}.")
        return value

    def _end(self, _tag: str) -> None:
        frame = self.open.pop()
        slot, parent = frame.slot, self.open[-1]
        if frame.has_gaps:
            _drop_empty_lists(frame.json)
        if slot is None:
            parent.json = frame.json
            return
        if not frame.json and frame.value is None:
            message = "An element must have a value or something inside."
            self._refuse("xml-empty", message, step=self._step(slot))
        if slot.kind in ("element", "resource"):
            if slot.is_list:
                parent.json.setdefault(slot.name, []).append(frame.json)
            else:
                parent.json[slot.name] = frame.json
        else:
            _add_primitive(parent, slot, frame)

    def _start_div(self, tag: str, attributes: dict[str, str]) -> None:
        self.div = div = DivWriter()
        self.div_at = self.parser.CurrentByteIndex
        self.parser.StartElementHandler = div.start
        self.parser.EndElementHandler = self._end_in_div
        self.parser.CharacterDataHandler = div.text
        div.start(tag, attributes)

    def _end_in_div(self, tag: str) -> None:
        self.div.end(tag)
        if self.div.depth:
            return
        if not self.div.is_xhtml:
            self._refuse("xml-narrative", "A narrative holds nothing but XHTML.", step="div")
        end = self.parser.CurrentByteIndex
        # Behind an empty tag the index is at its end already, else before the end tag.
        if end_tag := _END_OF_DIV.match(self.data, end):
            end = end_tag.end()
        text = self.data[self.div_at : end].decode()
        is_kept = "<![CDATA[" not in text and is_alone(text)
        self.open[-1].json["div"] = text if is_kept else "".join(self.div.parts)
        self._expect_elements()

    def _refuse_tag(self, tag: str) -> NoReturn:
        namespace, _, name = tag.rpartition(" ")
        step = name if _NAME.fullmatch(name) else "?"
        frame = self.open[-1]
        if namespace != FHIR and (frame.shape is None or f"{FHIR} {name}" in frame.shape.by_tag):
            message = f"Elements must be in the namespace {FHIR}."
            self._refuse("xml-namespace", message, step=step if frame.shape else "")
        self._refuse("xml-element", "R4 does not know this element here.", step=step)

    def _refuse(self, rule: str, message: str, *, step: str = "") -> NoReturn:
        place = ""
        for parent, frame in zip(self.open, self.open[1:], strict=False):
            if frame.slot is not None:
                place += f".{_step(parent, frame.slot)}"
            elif not place:
                place = frame.json["resourceType"]
        place = f"{place}.{step}" if place and step else place
        _refuse(rule, message, place=place or self._line())

    def _step(self, slot: Slot) -> str:
        return _step(self.open[-1], slot)

    def _line(self) -> str:
        return f"line {self.parser.CurrentLineNumber}"


_SCHEMA_LOCATION: Final = "http://www.w3.org/2001/XMLSchema-instance schemaLocation"
_BOOLEANS: Final = {"true": True, "false": False}
# As R4 writes them; what JSON calls a number is the same but for the plus sign.
_INTEGER: Final = re.compile(r"0|[-+]?[1-9][0-9]*")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_END_OF_DIV: Final = re.compile(rb"</(?:[^<>:]+:)?div\s*>")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


def _step(parent: _Frame, slot: Slot) -> str:
    if not slot.is_list:
        return slot.name
    index = max(len(parent.json.get(key, ())) for key in (slot.name, f"_{slot.name}"))
    return f"{slot.name}[{index}]"


def _add_primitive(parent: _Frame, slot: Slot, frame: _Frame) -> None:
    """Put a primitive's value under its name, and what is said about it under `_name`."""
    json, twin = parent.json, f"_{slot.name}"
    if not slot.is_list:
        if frame.value is not None:
            json[slot.name] = frame.value
        if frame.json:
            json[twin] = frame.json
        return
    values = json.setdefault(slot.name, [])
    if frame.json and twin not in json:
        json[twin] = [None] * len(values)
    values.append(frame.value)
    parent.has_gaps |= frame.value is None
    if twin in json:
        json[twin].append(frame.json or None)


def _drop_empty_lists(json: Json) -> None:
    """JSON leaves out a list of primitives none of which has a value."""
    for name in [n for n, v in json.items() if type(v) is list and not any(map(_is_there, v))]:
        del json[name]


def _is_there(value: Any) -> bool:
    return value is not None


def _refuse(rule: str, message: str, *, place: str = "") -> NoReturn:
    raise ResourceRejected(issues=[Issue(place, message, code="structure", rule=rule)])
