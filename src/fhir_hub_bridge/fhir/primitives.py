"""The primitive types as JSON Schemas: the standard's regular expressions, and a real calendar.

Expressions are of the linear kind, without look-around, so that no value can make one slow. Where
R4's own is too kind (empty text, 30 February) or engines differ on it (`\\S`), it is spelt out.
After: `schema_compiler`. https://hl7.org/fhir/R4/datatypes.html#primitive
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

Schema = dict[str, Any]

_YEAR: Final = "(?:[0-9](?:[0-9](?:[0-9][1-9]|[1-9]0)|[1-9]00)|[1-9]000)"
_LEAP_YEAR: Final = (
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
)
_MONTH: Final = "(?:0[1-9]|1[0-2])"
_MONTH_AND_DAY: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DAY: Final = f"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE: Final = "(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
# R4 allows tab, line feed and carriage return below the space, and asks for something to read.
_CONTROL: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f"
_TEXT: Final = rf"[^{_CONTROL}]*[^\s\x00-\x1f][^{_CONTROL}]*"
_URI: Final = r"[^\s\x00-\x1f]+"
_BASE64: Final = (
    r"\s*(?:(?:[0-9A-Za-z+/]\s*){4})*"
    r"(?:(?:[0-9A-Za-z+/]\s*){2}=\s*=\s*|(?:[0-9A-Za-z+/]\s*){3}=\s*)?"
)
_MEBI: Final = 1024 * 1024
_INTEGER: Final = 2**31


def _text(pattern: str, **more: Any) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern})$", **more}


def _integer(least: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": _INTEGER - 1}


PRIMITIVES: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "base64Binary": _text(_BASE64, minLength=1),
        "boolean": {"type": "boolean"},
        "canonical": _text(_URI),
        "code": _text(r"[^\s\x00-\x1f]+(?:\s[^\s\x00-\x1f]+)*"),
        "date": _text(f"{_YEAR}(?:-{_MONTH})?|{_DAY}"),
        "dateTime": _text(f"{_YEAR}(?:-{_MONTH})?|{_DAY}(?:T{_TIME}{_ZONE})?"),
        "decimal": {"type": "number"},
        # `.` and `..` match R4's expression, but could not be a step of a URL's path.
        "id": _text(
            r"\.{0,2}[A-Za-z0-9-][A-Za-z0-9.-]*|\.{3}[A-Za-z0-9.-]*",
            maxLength=64,
            rule="resource-id",
        ),
        "instant": _text(f"{_DAY}T{_TIME}{_ZONE}"),
        "integer": _integer(-_INTEGER),
        "markdown": _text(_TEXT, maxLength=_MEBI),
        "oid": _text(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"),
        "positiveInt": _integer(1),
        "string": _text(_TEXT, maxLength=_MEBI),
        "time": _text(_TIME),
        "unsignedInt": _integer(0),
        "uri": _text(_URI),
        "url": _text(_URI),
        "uuid": _text("urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        # Read by `narrative`.
        "xhtml": {"type": "string", "minLength": 1},
    }
)
"""JSON Schemas by type; `rule` is the name of ours for what breaks, where it has its own."""
