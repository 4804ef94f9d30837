"""A narrative's div on its way between JSON, where it is one text, and XML, where it is elements.

Its text is kept to the letter wherever it can stand by itself. Before: `xml_reader`. After:
`xml_writer`. https://hl7.org/fhir/R4/narrative.html
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate
from xml.sax.saxutils import escape, quoteattr

XHTML: Final = "http://www.w3.org/1999/xhtml"


def standing_alone(div: str) -> str | None:
    """The div as it can stand in FHIR XML, or None for what is no well-formed XHTML.

    HTML's own named characters become themselves, and a div without namespace gets XHTML's.
    """
    div = _NAMED.sub(_character, div.strip())
    if is_alone(div):
        return div
    with_namespace = re.sub(r"^<div\b", f'<div xmlns="{XHTML}"', div)
    return with_namespace if is_alone(with_namespace) else None


def is_alone(div: str) -> bool:
    """Whether a text is one div, well-formed, all in XHTML's namespace and without a DTD."""
    parser = ParserCreate("utf-8", " ")
    tags: list[str] = []
    parser.StartElementHandler = lambda tag, _: tags.append(tag)
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = _refuse
    parser.XmlDeclHandler = _refuse
    try:
        parser.Parse(div.encode(), True)
    except (ExpatError, UnicodeEncodeError, _NotAlone):
        return False
    return tags[0] == f"{XHTML} div" and all(tag.startswith(f"{XHTML} ") for tag in tags)


class DivWriter:
    """Writes a div anew from what a parser tells of it, for one that leans on what is around it.

    `is_xhtml` turns false once there is anything of another namespace.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.depth = 0
        self.is_xhtml = True

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Write a start tag; names come with their namespace and a space before them."""
        namespace, _, name = tag.rpartition(" ")
        self.is_xhtml &= namespace == XHTML
        xmlns = "" if self.depth else f' xmlns="{XHTML}"'
        written = "".join(self._attribute(*pair) for pair in attributes.items())
        self.parts.append(f"<{name}{xmlns}{written}>")
        self.depth += 1

    def end(self, tag: str) -> None:
        """Write an end tag, unless HTML knows none for this element."""
        name = tag.rpartition(" ")[2]
        if name in _VOID and self.parts[-1].startswith(f"<{name}"):
            self.parts[-1] = f"{self.parts[-1][:-1]}/>"
        else:
            self.parts.append(f"</{name}>")
        self.depth -= 1

    def text(self, text: str) -> None:
        """Write text."""
        self.parts.append(escape(text))

    def _attribute(self, name: str, value: str) -> str:
        namespace, _, local = name.rpartition(" ")
        self.is_xhtml &= namespace in ("", _XML)
        return f" {'xml:' if namespace else ''}{local}={quoteattr(value)}"


_XML: Final = "http://www.w3.org/XML/1998/namespace"
_VOID: Final = frozenset({"area", "br", "col", "hr", "img"})
_NAMED: Final = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]*;)")


class _NotAlone(Exception):
    """Something that may not stand inside of a document."""


def _refuse(*_: object) -> None:
    raise _NotAlone


def _character(name: re.Match[str]) -> str:
    character = html5.get(name[1])
    return name[0] if character is None else escape(character)
