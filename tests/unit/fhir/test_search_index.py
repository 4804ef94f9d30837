"""Resources indexed: the rows by which they are found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.search_conversions import fold
from fhir_hub_bridge.fhir.search_index import index_values
from fhir_hub_bridge.fhir.search_values import FAR_FUTURE, FAR_PAST, IndexValues


def rows_of(name: str, resource: Json) -> list[tuple[Any, ...]]:
    """The rows of one parameter, without its name."""
    found = index_values(resource)
    tables: tuple[tuple[tuple[Any, ...], ...], ...]
    tables = (found.tokens, found.references, found.dates, found.strings)
    return [row[1:] for table in tables for row in table if row[0] == name]


def day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def test_task_is_indexed_by_columns_and_rows() -> None:
    task = {
        "resourceType": "Task",
        "id": "t1",
        "meta": {
            "profile": ["https://p.example/x|3.0.0"],
            "lastUpdated": "2026-01-01T00:00:00Z",
            "tag": [{"system": "https://t", "code": "late"}],
        },
        "identifier": [
            {"system": "https://s", "value": "R-1"},
            {"value": "R-1"},
            {"system": "https://s", "value": "R-1"},
            {"system": "https://s"},
        ],
        "status": "accepted",
        "focus": {"reference": "ServiceRequest/s"},
        "owner": {"reference": "Organization/o"},
        "requester": {"reference": "Organization/r/_history/3", "identifier": {"value": "N"}},
        "for": {"reference": "Patient/p"},
        "authoredOn": "2026-02-03",
    }

    assert index_values(task) == IndexValues(
        tokens=(
            ("_profile", "", "https://p.example/x"),
            ("_tag", "https://t", "late"),
            ("identifier", "https://s", "R-1"),
            ("identifier", "", "R-1"),
            ("requester:identifier", "", "N"),
        ),
        references=(("focus", "ServiceRequest/s"), ("subject", "Patient/p")),
        dates=(("authored-on", day(2026, 2, 3), day(2026, 2, 4)),),
        status="accepted",
        owner="Organization/o",
        requester="Organization/r",
        patient="Patient/p",
    )


def test_group_that_is_served_is_a_subject_and_no_patient() -> None:
    found = index_values({"resourceType": "Task", "for": {"reference": "Group/g"}})

    assert found.patient is None
    assert found.references == (("subject", "Group/g"),)


def test_event_about_several_patients_has_a_row_for_each() -> None:
    event = {
        "resourceType": "AuditEvent",
        "agent": [{"who": {"reference": "Patient/a"}}],
        "entity": [{"what": {"reference": "Patient/b"}}, {"what": {"reference": "Task/t"}}],
    }

    assert rows_of("patient", event) == [("Patient/a",), ("Patient/b",)]
    assert index_values(event).patient is None


def test_bundles_and_what_has_no_type_have_nothing() -> None:
    bundle = {"resourceType": "Bundle", "type": "history", "identifier": {"value": "B-1"}}

    assert index_values(bundle) == index_values({}) == IndexValues()
    assert index_values({"resourceType": "Provenance"}) == IndexValues()


CONCEPT = {"coding": [{"system": "s", "code": "c"}, {"code": "d"}, {"display": "x"}], "text": "t"}


@pytest.mark.parametrize(
    ("kind", "name", "element", "expected"),
    [
        ("Task", "code", {"code": CONCEPT}, [("s", "c"), ("", "d")]),
        ("Task", "intent", {"intent": "order"}, [("", "order")]),
        ("Task", "group-identifier", {"groupIdentifier": {"value": "g"}}, [("", "g")]),
        ("Patient", "active", {"active": False}, [("", "false")]),
        (
            "Patient",
            "email",
            {"telecom": [{"system": "email", "value": "e"}, {"system": "phone", "value": "p"}]},
            [("", "e")],
        ),
        ("Endpoint", "payload-type", {"payloadType": [CONCEPT]}, [("s", "c"), ("", "d")]),
        ("AuditEvent", "type", {"type": {"system": "s", "code": "c"}}, [("s", "c")]),
        ("Questionnaire", "url", {"url": "https://q|1"}, [("", "https://q")]),
        ("Task", "_source", {"meta": {"source": "urn:x"}}, [("", "urn:x")]),
    ],
)
def test_token_and_uri_of_each_type(
    kind: str, name: str, element: Json, expected: list[tuple[str, str]]
) -> None:
    assert rows_of(name, {"resourceType": kind, **element}) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"reference": "ServiceRequest/s"}, [("ServiceRequest/s",)]),
        ({"reference": "Task/t/_history/2"}, [("Task/t",)]),
        ({"reference": "https://them.example/Task/t"}, [("https://them.example/Task/t",)]),
        ({"reference": "#inside"}, []),
        ({"display": "somebody"}, []),
    ],
)
def test_reference_is_written_as_it_is_compared(
    reference: Json, expected: list[tuple[str]]
) -> None:
    assert rows_of("focus", {"resourceType": "Task", "focus": reference}) == expected


def test_logical_reference_is_found_by_its_identifier() -> None:
    focus = {"identifier": {"system": "s", "value": "v"}}

    assert rows_of("focus:identifier", {"resourceType": "Task", "focus": focus}) == [("s", "v")]


def test_canonical_is_a_reference_by_url_without_its_version() -> None:
    response = {"resourceType": "QuestionnaireResponse", "questionnaire": "https://q|1.0"}

    assert rows_of("questionnaire", response) == [("https://q",)]


@pytest.mark.parametrize(
    ("element", "lower", "upper"),
    [
        ({"occurrenceDateTime": "2026-02"}, day(2026, 2, 1), day(2026, 3, 1)),
        (
            {"occurrencePeriod": {"start": "2026-02-03", "end": "2026-03"}},
            day(2026, 2, 3),
            day(2026, 4, 1),
        ),
        ({"occurrencePeriod": {"start": "2026"}}, day(2026, 1, 1), FAR_FUTURE),
        ({"occurrencePeriod": {"end": "2026"}}, FAR_PAST, day(2027, 1, 1)),
        (
            {"occurrenceTiming": {"event": ["2026-05-01", "2026-02-03"]}},
            day(2026, 2, 3),
            day(2026, 5, 2),
        ),
        (
            {"occurrenceTiming": {"repeat": {"boundsPeriod": {"start": "2026-05-01"}}}},
            day(2026, 5, 1),
            FAR_FUTURE,
        ),
    ],
)
def test_date_is_an_interval(element: Json, lower: datetime, upper: datetime) -> None:
    request = {"resourceType": "ServiceRequest", **element}

    assert rows_of("occurrence", request) == [(lower, upper)]


@pytest.mark.parametrize(
    "element", [{"occurrencePeriod": {}}, {"occurrenceTiming": {"code": {"text": "daily"}}}]
)
def test_date_that_tells_no_time_has_no_row(element: Json) -> None:
    assert rows_of("occurrence", {"resourceType": "ServiceRequest", **element}) == []


def test_name_and_address_are_found_by_their_parts() -> None:
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "Núñez-Ó Brien", "given": ["María  José", None], "prefix": ["Dr."]}],
        "address": [{"line": ["1 Main St."], "city": "Fresno"}],
    }

    assert rows_of("name", patient) == [
        ("nunezo brien", "Núñez-Ó Brien"),
        ("maria jose", "María  José"),
        ("dr", "Dr."),
    ]
    assert rows_of("family", patient) == [("nunezo brien", "Núñez-Ó Brien")]
    assert rows_of("address", patient) == [("1 main st", "1 Main St."), ("fresno", "Fresno")]
    assert rows_of("address-city", patient) == [("fresno", "Fresno")]


def test_composite_is_spelled_in_every_way_it_may_be_asked_for() -> None:
    group = {
        "resourceType": "Group",
        "characteristic": [
            {"code": {"coding": [{"system": "s", "code": "a"}]}, "valueBoolean": True},
            {"code": {"coding": [{"code": "b"}]}, "valueRange": {}},
        ],
    }

    assert rows_of("characteristic-value", group) == [
        ("", "s|a$|true"),
        ("", "s|a$true"),
        ("", "a$|true"),
        ("", "a$true"),
    ]


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_of_very_many_codings_only_the_first_are_combined() -> None:
    def codings(letter: str, count: int) -> dict[str, Any]:
        return {"coding": [{"system": "s", "code": f"{letter}{n}"} for n in range(count)]}

    observation = {
        "resourceType": "Observation",
        "code": codings("a", 600),
        "valueCodeableConcept": codings("b", 600),
    }

    found = rows_of("code-value-concept", observation)

    assert len(found) == 20 * 20
    assert ("", "a9$b9") in found
    assert ("", "a10$b0") not in found
    assert len(rows_of("code", observation)) >= 600


def test_a_resource_gets_no_more_rows_than_any_real_one_needs() -> None:
    some = {"coding": [{"system": "s", "code": f"c{n}"} for n in range(10)]}
    part = {"code": some, "valueCodeableConcept": some}
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": some,
        "identifier": [{"value": f"{n}"} for n in range(5000)],
        "performer": [{"reference": f"Practitioner/{n}"} for n in range(5000)],
        "component": [
            {**part, "code": {"coding": [{"code": f"{n}-{m}"} for m in range(10)]}}
            for n in range(100)
        ],
    }

    found = index_values(observation)

    assert len(found.references) == 2000
    assert len(found.tokens) <= 2000 * 4
