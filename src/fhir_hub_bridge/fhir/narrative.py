"""Narratives without anything that acts: no scripts, frames, forms, events or outside code.

Every `<` must begin a whole XHTML tag, so that what is not understood is refused, not shown.
https://hl7.org/fhir/R4/narrative.html#xhtml (txt-1)
"""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from typing import Final

import jsonschema_rs


def is_safe(div: str) -> bool:
    """Whether a narrative's XHTML holds nothing that a browser would run or fetch as code."""
    return _plain().is_valid(div) or _is_safe(div)


def has_content(div: str) -> bool:
    """Whether there is anything to read or see in a safe narrative (txt-2)."""
    return _TEXT.search(div) is not None or _IMAGE.search(div) is not None


_TEXT: Final = re.compile(r"(?:^|>)\s*[^<\s]")
_IMAGE: Final = re.compile(r"<(?:[\w.-]+:)?img\b", re.I)


@cache
def _plain() -> jsonschema_rs.Draft202012Validator:
    """What narratives mostly are: formatting, and attributes that can hold no code.

    The schema's engine reads them a hundred times faster than a look at each tag could. All that
    it lets pass would be found safe by that, too.
    """
    # Without a colon, or not beginning as `javascript:`, `vbscript:` and `data:` do.
    value = r'(?:[^"<&:]*|[^"<&:jJvVdD\x00-\x20][^"<&]*|(?:display|vertical-align)\s*:[^"<&]*)'
    source = (
        r"(?:[A-Za-z0-9_./-]+\.(?:png|gif|jpg)|data:image/(?:png|gif|jpeg);base64,[A-Za-z0-9+/=]*)"
    )
    attribute = rf'(?:src="{source}"|(?:{"|".join(_PLAIN_ATTRIBUTES)})="{value}")'
    tag = rf"</?(?:{'|'.join(_FORMATTING)})(?:\s+{attribute})*\s*/?>"
    pattern = rf"^(?:[^<]|{tag}|<!--(?:[^-]|-[^-])*-->)*$"
    linear = jsonschema_rs.RegexOptions()
    return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=linear)


_FORMATTING: Final = (
    *("a", "abbr", "b", "big", "blockquote", "br", "caption", "cite", "code", "col", "colgroup"),
    *("dd", "dfn", "div", "dl", "dt", "em", "h[1-6]", "hr", "i", "img", "kbd", "li", "ol", "p"),
    *("pre", "q", "samp", "small", "span", "strong", "sub", "sup", "table", "tbody", "td"),
    *("tfoot", "th", "thead", "tr", "tt", "u", "ul", "var"),
)
_PLAIN_ATTRIBUTES: Final = (
    *("align", "alt", "border", "cellpadding", "cellspacing", "class", "colspan", "dir", "height"),
    *("href", "id", "lang", "name", "rowspan", "style", "title", "valign", "width", "xml:lang"),
    "xmlns",
)


def _is_safe(div: str) -> bool:
    position = div.find("<")
    while position >= 0:
        match = _TAG.match(div, position) or _COMMENT.match(div, position)
        # An unfinished tag ends the scan at once: one pass over the text, whatever it holds.
        if match is None or ("name" in match.groupdict() and not _is_safe_tag(match)):
            return False
        position = div.find("<", match.end())
    return True


_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG: Final = re.compile(
    r"</?(?P<name>[A-Za-z][\w:.-]*)(?P<attributes>(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*+)>"
)
_ACTIVE: Final = frozenset(
    {
        *("applet", "audio", "base", "body", "button", "embed", "form", "frame", "frameset"),
        *("head", "html", "iframe", "input", "link", "math", "meta", "object", "script"),
        *("select", "style", "svg", "template", "textarea", "video"),
    }
)
_VALUE: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_ATTRIBUTE: Final = re.compile(r"([^\s\"'=/]+)\s*=")
_SCHEME: Final = re.compile(
    r"[\x00-\x20]*(?:j\s*a\s*v\s*a|v\s*b)\s*s\s*c\s*r\s*i\s*p\s*t\s*:", re.I
)
_CODE_DATA: Final = re.compile(r"[\x00-\x20]*data\s*:(?!\s*image/(?:png|jpeg|gif)\b)", re.I)


def _is_safe_tag(tag: re.Match[str]) -> bool:
    if tag["name"].rpartition(":")[2].lower() in _ACTIVE:
        return False
    attributes = tag["attributes"]
    for value in _VALUE.findall(attributes):
        text = unescape(value[1:-1])
        if _SCHEME.match(text) or _CODE_DATA.match(text):
            return False
    names = _ATTRIBUTE.findall(_VALUE.sub('""', attributes))
    return not any(name.rpartition(":")[2].lower().startswith("on") for name in names)
