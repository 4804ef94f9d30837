"""How an element of each data type is compared when it is searched as a token, date or string.

Before: `search_parameters`, which knows where the elements are.
https://hl7.org/fhir/R4/search.html#ptypes
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.dates import search_span
from fhir_hub_bridge.fhir.search_paths import parsed_reference
from fhir_hub_bridge.fhir.search_values import FAR_FUTURE, FAR_PAST

# Tokens give (system, code); dates (lower, upper); strings, uris and references texts.
Conversion: TypeAlias = Callable[[Any], Iterable[Any]]


def fold(text: str) -> str:
    """Write a string as it is compared: without case, accents, punctuation, doubled spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(_MARKS.sub("", plain).casefold().split())


def unversioned(url: str) -> str:
    """A canonical URL without its |version: with and without must match each other."""
    return url.split("|", 1)[0]


def comparable(text: str, bases: Collection[str]) -> str:
    """Write a reference as it is compared: local where it is ours, without its version.

    `bases` are our own absolute addresses, without a slash at the end.
    """
    reference = parsed_reference(text)
    if reference is None or not reference.type:
        return text
    path = f"{reference.type}/{reference.id}"
    is_ours = reference.base is None or reference.base in bases
    return path if is_ours else f"{reference.base}/{path}"


def of_identifier(identifier: Json) -> Iterable[tuple[str, str]]:
    """The token of an Identifier: (system, value); none without a value."""
    value = identifier.get("value")
    return ((identifier.get("system", ""), value),) if value else ()


# Most dates are of these days, and a resource tells the same instant more than once.
_span: Final = lru_cache(maxsize=1024)(search_span)
_MARKS: Final = re.compile(r"[^\w\s]|_")
_NAME_PARTS: Final = ("text", "family", "given", "prefix", "suffix")
_ADDRESS_PARTS: Final = ("text", "line", "city", "district", "state", "postalCode", "country")


def _of_coding(coding: Json) -> Iterable[tuple[str, str]]:
    code = coding.get("code")
    return ((coding.get("system", ""), code),) if code else ()


def _of_concept(concept: Json) -> Iterable[tuple[str, str]]:
    return [pair for coding in concept.get("coding", ()) for pair in _of_coding(coding)]


def _of_contact(contact: Json) -> Iterable[tuple[str, str]]:
    value = contact.get("value")
    return (("", value),) if value else ()


def _of_boolean(value: bool) -> Iterable[tuple[str, str]]:
    return (("", "true" if value else "false"),)


def _of_code(value: str) -> Iterable[tuple[str, str]]:
    return (("", value),)


def _of_date(text: str) -> Iterable[tuple[datetime, datetime]]:
    span = _span(text)
    return () if span is None else (span,)


def _of_period(period: Json) -> Iterable[tuple[datetime, datetime]]:
    start, end = (_span(text) if (text := period.get(name)) else None for name in ("start", "end"))
    if start is None and end is None:
        return ()
    return ((start[0] if start else FAR_PAST, end[1] if end else FAR_FUTURE),)


def _of_timing(timing: Json) -> Iterable[tuple[datetime, datetime]]:
    spans = [span for text in timing.get("event", ()) if text and (span := _span(text))]
    spans += _of_period(timing.get("repeat", {}).get("boundsPeriod", {}))
    return ((min(lower for lower, _ in spans), max(upper for _, upper in spans)),) if spans else ()


def _of_text(text: str) -> Iterable[str]:
    return (text,)


def _of_url(url: str) -> Iterable[str]:
    return (unversioned(url),)


def _of_parts(names: tuple[str, ...]) -> Conversion:
    def texts(value: Json) -> Iterable[str]:
        for name in names:
            part = value.get(name)
            if isinstance(part, list):
                yield from (text for text in part if text)
            elif part:
                yield part

    return texts


def _each(names: str, conversion: Conversion) -> Mapping[str, Conversion]:
    return dict.fromkeys(names.split(), conversion)


CONVERSIONS: Final[Mapping[str, Mapping[str, Conversion]]] = MappingProxyType(
    {
        "token": {
            "Coding": _of_coding,
            "CodeableConcept": _of_concept,
            "Identifier": of_identifier,
            "ContactPoint": _of_contact,
            "boolean": _of_boolean,
            **_each("code id string uri url canonical oid uuid", _of_code),
        },
        "date": {
            **_each("date dateTime instant", _of_date),
            "Period": _of_period,
            "Timing": _of_timing,
        },
        "string": {
            **_each("string markdown", _of_text),
            "HumanName": _of_parts(_NAME_PARTS),
            "Address": _of_parts(_ADDRESS_PARTS),
        },
        "uri": _each("uri url canonical oid uuid", _of_url),
        # A Reference has an identifier too, and its text depends on what is ours.
        "reference": {"Reference": _of_text, **_each("canonical uri", _of_url)},
    }
)
"""For each kind of parameter, the data types that it can be about."""
