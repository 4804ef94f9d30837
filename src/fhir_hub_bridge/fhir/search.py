"""A search's parameters read: what must match, what comes along, in which order and shape.

Before: `search_reading`, which reads each value. After: the store's statements.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from fhir_hub_bridge.fhir.definitions import compartment
from fhir_hub_bridge.fhir.search_index import index_values
from fhir_hub_bridge.fhir.search_parameters import PARAMETERS, Parameter
from fhir_hub_bridge.fhir.search_reading import read_filter, refuse_search, split_values, unescape
from fhir_hub_bridge.fhir.search_values import (
    Chain,
    DateValue,
    Filter,
    Has,
    Include,
    IndexValues,
    Pair,
    Query,
    SortKey,
    StringValue,
    TokenValue,
)

__all__ = [
    "PARAMETERS",
    "Chain",
    "DateValue",
    "Filter",
    "Has",
    "Include",
    "IndexValues",
    "Parameter",
    "Query",
    "SortKey",
    "StringValue",
    "TokenValue",
    "compartment_query",
    "index_values",
    "parse_query",
]

MAX_VALUES: Final = 500
MAX_INCLUDES: Final = 20
CONTROL: Final = ("_count", "_sort", "_format", "_pretty", "_total", "_summary", "_elements")


def parse_query(type: str, pairs: Iterable[Pair], *, bases: Collection[str] = ()) -> Query:  # noqa: A002
    """Read a search's decoded (name, value) pairs; `bases` are our own absolute addresses.

    Commas are OR (`\\,` is a comma), repetition is AND. Unknown names are collected for the caller
    to warn of or refuse. Raises ResourceRejected (code `value`, rule `search-parameter`) for an
    empty or malformed value and for a modifier that we cannot answer.
    """
    if type not in PARAMETERS:
        refuse_search("", "This type cannot be searched here.")
    own = frozenset(base.rstrip("/") for base in bases)
    filters: list[Filter | Chain | Has] = []
    includes: list[Include] = []
    control: dict[str, str] = {}
    applied: list[Pair] = []
    unknown: list[str] = []
    for name, text in pairs:
        if name in CONTROL:
            if name in control:
                refuse_search(name, f"{name} may be given once.")
            control[name] = text
        elif name.partition(":")[0] in ("_include", "_revinclude"):
            includes.append(_read_include(type, name, text))
        elif (found := _read_condition(type, name, text, own)) is not None:
            filters.append(found)
        else:
            unknown.append(name)
            continue
        applied.append((name, text))
    values = (len(f.values if isinstance(f, Filter) else f.filter.values) for f in filters)
    if sum(values) > MAX_VALUES:
        refuse_search(type, f"A search may hold at most {MAX_VALUES} values.")
    if len(includes) > MAX_INCLUDES:
        refuse_search("_include", f"A search may hold at most {MAX_INCLUDES} inclusions.")
    return Query(
        type,
        tuple(filters),
        count=_read_count(control),
        sort=_read_sort(type, control),
        total=_one_of(control, "_total", ("none", "estimate", "accurate")),
        summary=_one_of(control, "_summary", ("count", "true", "text", "data", "false")),
        elements=_read_elements(type, control),
        includes=tuple(dict.fromkeys(includes)),
        format=control.get("_format", ""),
        applied=tuple(applied),
        unknown=tuple(unknown),
    )


def compartment_query(patient_id: str, type: str) -> tuple[Filter, ...]:  # noqa: A002
    """By what resources of a type are in a patient's compartment: a match of any one suffices.

    Nothing for a type that has no part in it or cannot be searched.
    https://hl7.org/fhir/R4/compartmentdefinition-patient.html
    """
    patient = f"Patient/{patient_id}"
    known = PARAMETERS.get(type, {})
    own = (Filter("_id", "token", (TokenValue(None, patient_id),)),) if type == "Patient" else ()
    return own + tuple(
        Filter(name, "reference", (patient,), column=known[name].column)
        for name in compartment("Patient").get(type, ())
        if name in known
    )


_CHAIN: Final = re.compile(r"(?P<reference>[\w-]+)(?::(?P<target>\w+))?\.(?P<name>.+)", re.DOTALL)
_ELEMENT: Final = re.compile(r"[a-z][A-Za-z0-9]*", re.ASCII)


def _read_condition(
    kind: str, full_name: str, text: str, bases: Collection[str]
) -> Filter | Chain | Has | None:
    if full_name.startswith("_has:"):
        return _read_has(kind, full_name, text, bases)
    if chained := _CHAIN.fullmatch(full_name):
        return _read_chain(kind, chained, text, bases)
    return _read_filter(kind, full_name, text, bases)


def _read_chain(
    kind: str, chained: re.Match[str], text: str, bases: Collection[str]
) -> Chain | None:
    reference = PARAMETERS[kind].get(chained["reference"])
    if reference is None or reference.kind != "reference":
        return None
    name, target = chained["name"], chained["target"]
    if "." in name or name.startswith("_has:"):
        refuse_search(reference.name, "A chain of parameters may have one link.")
    if target and target not in reference.targets:
        refuse_search(reference.name, f"{reference.name} does not name resources of this type.")
    found: dict[Filter, list[str]] = {}
    for candidate in [target] if target else reference.targets:
        if candidate in PARAMETERS and (asked := _read_filter(candidate, name, text, bases)):
            found.setdefault(asked, []).append(candidate)
    if len(found) > 1:
        refuse_search(reference.name, f"{reference.name} needs the :Type that it names.")
    return next(
        (Chain(reference.name, tuple(to), f, reference.column) for f, to in found.items()), None
    )


def _read_has(kind: str, full_name: str, text: str, bases: Collection[str]) -> Has | None:
    _, *parts = full_name.split(":", 3)
    if len(parts) != 3:
        refuse_search("_has", "_has takes :Type:reference:parameter.")
    source, reference_name, name = parts
    reference = PARAMETERS.get(source, {}).get(reference_name)
    if reference is None or reference.kind != "reference":
        return None
    if kind not in reference.targets:
        refuse_search("_has", "This reference does not name resources of this type.")
    if name.startswith("_has:") or "." in name:
        refuse_search("_has", "A chain of parameters may have one link.")
    asked = _read_filter(source, name, text, bases)
    return None if asked is None else Has(source, reference_name, asked, reference.column)


def _read_filter(kind: str, full_name: str, text: str, bases: Collection[str]) -> Filter | None:
    name, _, modifier = full_name.partition(":")
    # The guides misspell it.
    name = "_lastUpdated" if name.lower() == "_lastupdated" else name
    parameter = PARAMETERS[kind].get(name)
    return None if parameter is None else read_filter(parameter, modifier, text, bases)


def _read_include(kind: str, full_name: str, text: str) -> Include:
    control, _, modifier = full_name.partition(":")
    if modifier not in ("", "iterate"):
        refuse_search(control, f"{control} knows no modifier but iterate.")
    reverse, iterate = control == "_revinclude", modifier == "iterate"
    if text == "*" and not reverse:
        return Include(kind, "*", iterate=iterate)
    source, name, target = (*text.split(":"), "", "")[:3]
    # The guides write HealthCareService.
    source = {known.lower(): known for known in PARAMETERS}.get(source.lower(), "")
    parameter = PARAMETERS[source].get(name) if source else None
    is_reference = parameter is not None and bool(parameter.targets)
    if text.count(":") > 2 or not source or not (is_reference or name == "*"):
        refuse_search(control, f"{control} takes Type:reference or Type:reference:Target.")
    if target and target not in PARAMETERS:
        refuse_search(control, f"{control} names a type that is not kept here.")
    column = parameter.column if parameter is not None else ""
    return Include(source, name, target, reverse, iterate, column)


def _read_sort(kind: str, control: Mapping[str, str]) -> tuple[SortKey, ...]:
    if "_sort" not in control:
        return ()
    keys: dict[str, SortKey] = {}
    for text in control["_sort"].split(","):
        name = text.removeprefix("-")
        name = "_lastUpdated" if name.lower() == "_lastupdated" else name
        parameter = PARAMETERS[kind].get(name)
        if parameter is None or parameter.kind == "composite":
            refuse_search("_sort", "_sort takes names of this type's parameters, - for descending.")
        key = SortKey(name, parameter.kind, text.startswith("-"), parameter.column)
        keys.setdefault(name, key)
    return tuple(keys.values())


def _read_elements(kind: str, control: Mapping[str, str]) -> tuple[str, ...]:
    if "_elements" not in control:
        return ()
    names = [
        unescape(part).strip().removeprefix(f"{kind}.")
        for part in split_values(control["_elements"])
    ]
    if not all(_ELEMENT.fullmatch(name) for name in names):
        refuse_search("_elements", "_elements takes the names of elements with commas between.")
    return tuple(dict.fromkeys(names))


def _read_count(control: Mapping[str, str]) -> int | None:
    text = control.get("_count")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        refuse_search("_count", "_count takes a whole number.")
    return int(text)


def _one_of(control: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> Any:
    text = control.get(name, "")
    if name in control and text not in allowed:
        refuse_search(name, f"{name} takes one of {', '.join(allowed)}.")
    return text
