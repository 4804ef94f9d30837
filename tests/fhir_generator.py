"""Made-up resources for laws: shaped by the official definitions, and some spoilt a little."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from fhir_hub_bridge.fhir.definitions import (
    Element,
    ElementType,
    codes_of,
    primitive_types,
    structure,
)

Json = dict[str, Any]

_WORD = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
_ID = st.from_regex(r"[A-Za-z0-9.-]{1,20}", fullmatch=True)
_URL = st.from_regex(r"https://[a-z]{1,8}\.example/[a-z]{1,8}", fullmatch=True)
_DATE = st.dates().map(lambda day: f"{day.year:04}-{day.month:02}-{day.day:02}")
_INSTANT = st.tuples(_DATE, st.times(), st.sampled_from(["Z", "-08:00", "+05:30"])).map(
    lambda parts: f"{parts[0]}T{parts[1].replace(microsecond=0).isoformat()}{parts[2]}"
)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "base64Binary": st.sampled_from(["", "Zm9v", "AA=="]).filter(bool),
    "boolean": st.booleans(),
    "canonical": _URL,
    "code": st.from_regex(r"[a-z]{1,8}(-[a-z]{1,8})?", fullmatch=True),
    "date": _DATE | st.sampled_from(["2026", "2026-02"]),
    "dateTime": _DATE | _INSTANT,
    "decimal": st.decimals(-1000, 1000, places=3).map(Decimal),
    "id": _ID,
    "instant": _INSTANT,
    "integer": st.integers(-1000, 1000),
    "markdown": _WORD,
    "oid": st.just("urn:oid:1.2.3"),
    "positiveInt": st.integers(1, 1000),
    "string": _WORD,
    "time": st.times().map(lambda time: time.replace(microsecond=0).isoformat()),
    "unsignedInt": st.integers(0, 1000),
    "uri": _URL | st.just("urn:uuid:7d0d2e0a-0000-4000-8000-000000000001"),
    "url": _URL,
    "uuid": st.just("urn:uuid:7d0d2e0a-0000-4000-8000-000000000001"),
}
"""A value of each primitive type."""

_DEPTH = 3
_SAYS_NOTHING = {"extension": [{"url": "https://made-up.example/nothing", "valueString": "-"}]}
"""What may stand for any element that is required and has no required part."""

_LEFT_OUT = {"id", "meta", "implicitRules", "contained", "extension", "modifierExtension"}


@st.composite
def resources(draw: st.DrawFn, kind: str) -> Json:
    """A resource with all that is required and some of the rest; invariants may still be broken."""
    return {"resourceType": kind, **draw(_elements(kind, kind, depth=0))}


@st.composite
def near_resources(draw: st.DrawFn, kind: str) -> Json:
    """A resource in which one or two things are wrong, or perhaps still right."""
    resource: Json = draw(resources(kind))
    for _ in range(draw(st.integers(1, 2))):
        resource = draw(_spoilt(resource))
    return resource


@st.composite
def _elements(draw: st.DrawFn, kind: str, path: str, *, depth: int) -> Json:
    made: Json = {}
    for element in structure(kind).children(path):
        is_narrative = element.types[:1] == (ElementType("Narrative"),)
        if element.name in _LEFT_OUT or element.max == 0 or is_narrative:
            continue
        if not element.min and (depth >= _DEPTH or draw(st.integers(0, 4))):
            continue
        element_type = draw(st.sampled_from(element.types or (ElementType("BackboneElement"),)))
        one = _value(element, element_type, depth=depth + 1)
        value = draw(st.lists(one, min_size=1, max_size=2) if element.is_list else one)
        made[element.json_name(element_type)] = value
    return made if made or (path == kind and depth == 0) else draw(st.just(_SAYS_NOTHING))


def _value(element: Element, element_type: ElementType, *, depth: int) -> st.SearchStrategy[Any]:
    code = element_type.code
    codes = codes_of(element.binding) if element.strength == "required" else None
    if codes is not None and code == "code":
        return st.sampled_from(sorted({c for listed in codes.values() for c in listed}))
    if code in primitive_types():
        return PRIMITIVES.get(code, _WORD)
    if code == "Reference":
        targets = [t for t in element_type.targets if t != "Resource"] or ["Patient"]
        return st.tuples(st.sampled_from(targets), _ID).map(
            lambda parts: {"reference": f"{parts[0]}/{parts[1]}"}
        )
    if element.content:
        return _elements(element.content.partition(".")[0], element.content, depth=_DEPTH)
    if code in ("BackboneElement", "Element"):
        return _elements(element.path.partition(".")[0], element.path, depth=depth)
    if code == "CodeableConcept":
        return _WORD.map(lambda word: {"text": word})
    if code == "Resource":
        return st.just({"resourceType": "Basic", "code": {"text": "-"}})
    return _elements(element_type.name, element_type.name, depth=depth + 1)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORD | st.just(""),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORD, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def _spoilt(draw: st.DrawFn, resource: Json) -> Json:
    spoilt = copy.deepcopy(resource)
    place: Any = spoilt
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return spoilt
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
            place = place[key]
            continue
        match draw(st.sampled_from(["drop", "replace", "wrap", "add"])):
            case "drop":
                del place[key]
            case "replace":
                place[key] = draw(_ANYTHING)
            case "wrap":
                place[key] = [place[key]]
            case "add" if isinstance(place, dict):
                place[draw(_WORD)] = draw(_ANYTHING)
            case _:
                place.append(draw(_ANYTHING))
        return spoilt
