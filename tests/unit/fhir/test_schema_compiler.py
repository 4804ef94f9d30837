"""What the compiled schemas take and refuse, type by type, value by value."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_hub_bridge.fhir.definitions import primitive_types, resource_types, structure
from fhir_hub_bridge.fhir.schema_compiler import compiled, schema_of, validator_of

Json = dict[str, Any]


def takes(kind: str, value: Any) -> bool:
    return validator_of(kind).is_valid(value)


GOOD: dict[str, list[Any]] = {
    "base64Binary": ["aGVs", "aGVs\nbG8=", "YQ==", " YQ = ="],
    "boolean": [True, False],
    "canonical": ["https://x.example/p|1", "#inner"],
    "code": ["a", "in-progress", "a b"],
    "date": ["2026", "2026-02", "2026-02-28", "2024-02-29", "2000-02-29", "0001-01-01"],
    "dateTime": ["2026-02", "2026-02-28T23:59:60Z", "2026-12-31T00:00:00.123456789-14:00"],
    "decimal": [1, 1.5, -0.0, 10**30],
    "id": ["a", "A-1.b", "x" * 64, "..a", "..."],
    "instant": ["2024-02-29T10:00:00Z", "2026-01-01T10:00:00+05:30"],
    "integer": [0, -(2**31), 2**31 - 1],
    "markdown": ["# a\n\tb\r\n"],
    "oid": ["urn:oid:1.2.840.10008"],
    "positiveInt": [1, 2**31 - 1],
    "string": ["a", " a ", "a\u00a0b", "\u0085x", "\U0001f600"],
    "time": ["10:00:00", "23:59:60.5"],
    "unsignedInt": [0],
    "uri": ["urn:x", "../a#b"],
    "url": ["https://x.example/?a=b%20c"],
    "uuid": ["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
    "xhtml": ["<div/>"],
}
BAD: dict[str, list[Any]] = {
    "base64Binary": ["", "a", "aGV", "====", "aG=s", "!!!!"],
    "boolean": ["true", 1, None],
    "canonical": ["", "a b"],
    "code": ["", " a", "a ", "a  b", "a\n b"],
    "date": [
        *("2026-13", "2026-00", "2026-1", "26", "0000", "2026-02-29", "1900-02-29", "2026-04-31"),
        *("2026-02-30", "2026-01-32", "2026-01-00", "2026-01-01T10:00:00Z", "2026-01-01\n"),
    ],
    "dateTime": [
        *("2026-02-30T10:00:00Z", "2026-01-01T10:00:00", "2026-01-01T10:00Z", "2026-01T10:00:00Z"),
        *("2026-01-01T24:00:00Z", "2026-01-01T10:00:00+14:01", "2026-01-01 10:00:00Z"),
    ],
    "decimal": ["1", True, None],
    "id": ["", "a_b", "a b", "x" * 65, ".", "..", "a\n", "é"],
    "instant": ["2026-01-01", "2023-02-29T10:00:00Z", "2026-01-01T10:00:00"],
    "integer": [1.5, 2**31, -(2**31) - 1, "1", True],
    "markdown": ["", " \n", "a\x00"],
    "oid": ["1.2", "urn:oid:3.1", "urn:oid:1", "urn:oid:1.02"],
    "positiveInt": [0, -1],
    "string": ["", " ", "\n", "a\x0b", "\x1f", 5, "\u00a0"],
    "time": ["24:00:00", "10:00", "10:00:00Z"],
    "unsignedInt": [-1],
    "uri": ["", "a b", " a"],
    "url": ["", "a b"],
    "uuid": [
        "c757873d-ec9a-4326-a141-556f43239520",
        "urn:uuid:C757873D-ec9a-4326-a141-556f4323952",
    ],
    "xhtml": ["", 5],
}


@pytest.mark.parametrize("kind", sorted(primitive_types()))
def test_primitive_takes_what_r4_allows(kind: str) -> None:
    assert [value for value in GOOD[kind] if not takes(kind, value)] == []
    assert [value for value in BAD[kind] if takes(kind, value)] == []


@settings(max_examples=500)
@given(st.integers(1, 9999), st.integers(1, 12), st.integers(1, 31))
def test_days_are_those_of_the_calendar(year: int, month: int, day: int) -> None:
    try:
        date(year, month, day)
        exists = True
    except ValueError:
        exists = False

    assert takes("date", f"{year:04}-{month:02}-{day:02}") is exists
    assert takes("instant", f"{year:04}-{month:02}-{day:02}T10:00:00Z") is exists


@pytest.mark.parametrize("kind", sorted(resource_types()))
def test_every_type_has_a_schema_that_is_one(kind: str) -> None:
    schema = schema_of(kind)

    assert jsonschema_rs.meta.is_valid(schema)
    assert {e.name for e in structure(kind).children() if not e.is_choice} <= set(
        schema["$defs"][kind]["properties"]
    )


def test_schema_is_the_same_each_time() -> None:
    before = json.dumps(schema_of("Task"))
    schema_of.cache_clear()

    assert json.dumps(schema_of("Task")) == before


def test_types_beyond_r4_have_none() -> None:
    with pytest.raises(KeyError):
        validator_of("SubscriptionStatus")


EXTENSION = {"url": "https://x.example/e", "valueCode": "y"}


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        (EXTENSION, True),
        ({**EXTENSION, "id": "a"}, True),
        ({"url": "https://x.example/e", "extension": [EXTENSION]}, True),
        ({"url": "https://x.example/e", "_valueCode": {"extension": [EXTENSION]}}, True),
        ({**EXTENSION, "_valueCode": {"id": "a"}}, True),
        ({"url": "https://x.example/e"}, False),
        ({"url": "https://x.example/e", "id": "a"}, False),
        ({"valueCode": "y"}, False),
        ({"valueCode": "y", "id": "a"}, False),
        ({**EXTENSION, "extension": [EXTENSION]}, False),
        ({**EXTENSION, "valueString": "y"}, False),
        ({**EXTENSION, "_valueString": {"extension": [EXTENSION]}}, False),
        ({**EXTENSION, "extension": []}, False),
        ({**EXTENSION, "_url": {"id": "a"}}, False),
    ],
)
def test_extension_has_a_value_or_extensions(value: Json, is_right: bool) -> None:
    assert takes("Extension", value) is is_right


def an_input(**value: Any) -> Json:
    task = {"resourceType": "Task", "status": "draft", "intent": "order"}
    return {**task, "input": [{"type": {"text": "x"}, **value}]}


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ({"valueString": "a"}, True),
        ({"valueString": "a", "id": "i"}, True),
        ({"valueString": "a", "extension": [EXTENSION]}, True),
        ({"_valueString": {"extension": [EXTENSION]}}, True),
        ({}, False),
        ({"id": "i"}, False),
        ({"extension": [EXTENSION]}, False),
        ({"valueString": "a", "valueInteger": 1}, False),
        ({"valueString": "a", "valueInteger": 1, "id": "i"}, False),
        ({"valueString": "a", "_valueInteger": {"extension": [EXTENSION]}}, False),
        ({"valueString": "a", "type": None}, False),
        ({"valueMoneyQuantity": {"value": 1}}, False),
    ],
)
def test_required_choice_is_made_once(value: Json, is_right: bool) -> None:
    assert takes("Task", an_input(**value)) is is_right


def test_optional_choice_is_made_at_most_once() -> None:
    patient = {"resourceType": "Patient"}

    assert takes("Patient", patient)
    assert takes("Patient", {**patient, "deceasedBoolean": False})
    assert takes("Patient", {**patient, "deceasedBoolean": False, "_deceasedBoolean": {"id": "a"}})
    assert not takes("Patient", {**patient, "deceasedBoolean": False, "deceasedDateTime": "2026"})


def test_required_primitive_may_be_just_an_extension() -> None:
    task = {"resourceType": "Task", "intent": "order"}

    assert takes("Task", {**task, "_status": {"extension": [EXTENSION]}})
    assert not takes("Task", task)


def test_simple_quantity_has_no_comparator() -> None:
    assert takes("Quantity", {"value": 1, "comparator": "<"})
    assert not takes("SimpleQuantity", {"value": 1, "comparator": "<"})
    assert not takes("Range", {"low": {"value": 1, "comparator": "<"}})


def condition(**elements: Any) -> Json:
    return {"resourceType": "Condition", "subject": {"reference": "Patient/p"}, **elements}


def test_bound_concept_has_a_coding_of_its_value_set() -> None:
    system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    active, own = {"system": system, "code": "active"}, {"system": "urn:x", "code": "active"}

    def takes_status(status: Json) -> bool:
        return takes("Condition", condition(clinicalStatus=status))

    assert takes_status({"coding": [active]})
    assert takes_status({"coding": [own, active], "text": "x"})
    assert takes_status({"extension": [EXTENSION]})
    assert not takes_status({"coding": [own]})
    assert not takes_status({"coding": [{"code": "active"}]})
    assert not takes_status({"text": "active"})


def test_element_that_is_like_another_is_taken_at_any_depth() -> None:
    item: Json = {"linkId": "1", "type": "group", "item": [{"linkId": "2", "type": "string"}]}
    form = {"resourceType": "Questionnaire", "status": "draft"}

    assert takes("Questionnaire", {**form, "item": [{**item, "linkId": "0", "item": [item]}]})
    assert not takes("Questionnaire", {**form, "item": [{**item, "item": [{"type": "group"}]}]})


def test_nothing_is_fetched_for_a_schema() -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        compiled({"$ref": "https://x.example/schema.json"})
