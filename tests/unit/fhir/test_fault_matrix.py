"""Twenty-four resources with one fault each, of the kinds that validators are known to miss.

The good ones they are made from have none: what is found is the fault, at its place, and no more.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_hub_bridge.fhir.validation import issues_of

Json = dict[str, Any]

PATIENT: Json = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": "https://plan.example/members", "value": "M-1"}],
    "active": True,
    "name": [{"family": "Testperson", "given": ["Ada"]}],
    "telecom": [{"system": "phone", "value": "+1 555 0100"}],
    "gender": "female",
    "birthDate": "1980-02-29",
}
SERVICE_REQUEST: Json = {
    "resourceType": "ServiceRequest",
    "id": "sr1",
    "status": "active",
    "intent": "order",
    "code": {"text": "Housing navigation"},
    "subject": {"reference": "Patient/p1"},
    "authoredOn": "2026-05-04T10:11:12-07:00",
}
TASK: Json = {
    "resourceType": "Task",
    "id": "t1",
    "extension": [{"url": "https://hub.example/e", "valueString": "x"}],
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
    "status": "requested",
    "intent": "order",
    "focus": {"reference": "ServiceRequest/sr1"},
    "for": {"reference": "Patient/p1"},
    "authoredOn": "2026-05-04T10:11:12Z",
    "lastModified": "2026-05-04T11:00:00Z",
    "owner": {"reference": "Organization/hub"},
    "input": [{"type": {"text": "visits"}, "valueInteger": 3}],
}
BUNDLE: Json = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-00000000000{index}",
            "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for index, resource in enumerate((PATIENT, SERVICE_REQUEST, TASK))
    ],
}
GOOD = (PATIENT, SERVICE_REQUEST, TASK, BUNDLE)
GONE: Any = object()

# what is wrong, the resource, the way to it, what stands there instead, where it is told, the rule
FAULTS: list[tuple[str, Json, tuple[str | int, ...], Any, str, str]] = [
    ("required element missing", TASK, ("status",), GONE, "Task.status", "element-required"),
    ("unknown element", TASK, ("foo",), "bar", "Task.foo", "element-unknown"),
    ("code not in set", PATIENT, ("gender",), "f", "Patient.gender", "required-code"),
    (
        "code not in set, inside a Bundle",
        BUNDLE,
        ("entry", 2, "resource", "intent"),
        "wish",
        "Bundle.entry[2].resource.intent",
        "required-code",
    ),
    (
        "code with two spaces",
        TASK,
        ("input", 0, "type"),
        {"coding": [{"code": "a  b"}]},
        "Task.input[0].type.coding[0].code",
        "element-type",
    ),
    ("month 13", PATIENT, ("birthDate",), "1980-13-01", "Patient.birthDate", "element-type"),
    (
        "time without zone",
        TASK,
        ("authoredOn",),
        "2026-05-04T10:11:12",
        "Task.authoredOn",
        "element-type",
    ),
    ("30 February", PATIENT, ("birthDate",), "1980-02-30", "Patient.birthDate", "element-type"),
    ("bad characters in id", PATIENT, ("id",), "p_1", "Patient.id", "resource-id"),
    ("string for an object", TASK, ("for",), "Patient/p1", "Task.for", "element-type"),
    (
        "object for a list",
        PATIENT,
        ("name",),
        {"family": "Testperson"},
        "Patient.name",
        "element-type",
    ),
    (
        "two values",
        TASK,
        ("input", 0, "valueString"),
        "3",
        "Task.input[0].value",
        "element-choice",
    ),
    (
        "no value",
        TASK,
        ("input", 0, "valueInteger"),
        GONE,
        "Task.input[0].value",
        "element-choice",
    ),
    ("text for a boolean", PATIENT, ("active",), "true", "Patient.active", "element-type"),
    (
        "reference to another type",
        TASK,
        ("owner", "reference"),
        "Location/l1",
        "Task.owner.reference",
        "reference-target",
    ),
    (
        "malformed reference",
        TASK,
        ("for", "reference"),
        "Patient p1",
        "Task.for.reference",
        "reference-form",
    ),
    ("empty array", PATIENT, ("name", 0, "given"), [], "Patient.name[0].given", "json-empty"),
    ("empty string", PATIENT, ("name", 0, "family"), "", "Patient.name[0].family", "json-empty"),
    ("inv-1, across zones", TASK, ("authoredOn",), "2026-05-04T10:11:12-05:00", "Task", "inv-1"),
    (
        "ext-1",
        TASK,
        ("extension", 0, "extension"),
        [{"url": "https://hub.example/e", "valueString": "x"}],
        "Task.extension[0]",
        "ext-1",
    ),
    ("prr-1", SERVICE_REQUEST, ("code",), GONE, "ServiceRequest", "prr-1"),
    ("bdl-3", BUNDLE, ("entry", 1, "request"), GONE, "Bundle.entry[1]", "bdl-3"),
    ("reference to nothing contained", TASK, ("for", "reference"), "#p1", "Task.for", "ref-1"),
    (
        "script in the narrative",
        TASK,
        ("text", "div"),
        "<div><p onclick='x()'>x</p></div>",
        "Task.text.div",
        "narrative-safe",
    ),
]


def spoilt(good: Json, way: tuple[str | int, ...], value: Any) -> Json:
    resource = copy.deepcopy(good)
    part: Any = resource
    for step in way[:-1]:
        part = part[step]
    if value is GONE:
        del part[way[-1]]
    else:
        part[way[-1]] = value
    if resource["resourceType"] == "ServiceRequest":
        resource["orderDetail"] = [{"text": "x"}]
    return resource


def test_there_are_twenty_four_faults() -> None:
    assert len(FAULTS) == 24


@pytest.mark.parametrize("good", GOOD, ids=lambda resource: str(resource["resourceType"]))
def test_good_resource_raises_no_alarm(good: Json) -> None:
    assert issues_of(good) == []


@pytest.mark.parametrize(
    ("good", "way", "value", "place", "rule"),
    [fault[1:] for fault in FAULTS],
    ids=[fault[0] for fault in FAULTS],
)
def test_fault_is_found_and_nothing_else(
    good: Json, way: tuple[str | int, ...], value: Any, place: str, rule: str
) -> None:
    issues = issues_of(spoilt(good, way, value))

    assert [(issue.place, issue.rule) for issue in issues] == [(place, rule)]


def places(value: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    steps: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        steps = [*value.items()]
    elif isinstance(value, list):
        steps = [*enumerate(value)]
    return [
        found for step, child in steps for found in ((*way, step), *places(child, (*way, step)))
    ]


RICH: Json = {
    **TASK,
    "contained": [PATIENT, {"resourceType": "Range", "id": "no-resource"}],
    "for": {"reference": "#p1", "type": "Patient"},
    "executionPeriod": {"start": "2026-05-04", "end": "2026-05-05"},
    "_description": {"extension": TASK["extension"]},
    "input": [
        {"type": {"text": "t"}, "valueTiming": {"repeat": {"offset": 1, "when": ["C"]}}},
        {"type": {"text": "r"}, "valueRange": {"low": {"value": 1}, "high": {"value": 2}}},
        {"type": {"text": "a"}, "valueAge": {"value": 1, "code": "a", "system": "urn:x"}},
    ],
}
ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, "", " ", "x", "#", "#x", "2026-02-30", [], {}]
) | st.just(GONE)
ODD_DEEPER = ODD | ODD.map(lambda odd: [odd]) | ODD.map(lambda odd: {"value": odd, "x": odd})


@settings(max_examples=600, deadline=None)
@given(st.sampled_from((*GOOD, RICH)), st.data())
def test_resource_spoilt_anywhere_is_judged_without_accident(
    good: Json, data: st.DataObject
) -> None:
    way = data.draw(st.sampled_from(places(good)))
    odd = data.draw(ODD_DEEPER)
    resource = copy.deepcopy(good)
    part: Any = resource
    for step in way[:-1]:
        part = part[step]
    if odd is GONE:
        del part[way[-1]]
    else:
        part[way[-1]] = odd

    issues = issues_of(resource)

    assert all(issue.message and issue.rule for issue in issues)
