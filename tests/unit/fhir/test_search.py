"""Searches read, resources indexed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.outcome import status_of
from fhir_hub_bridge.fhir.search import (
    PARAMETERS,
    DateValue,
    Filter,
    IndexValues,
    Query,
    TokenValue,
    index_values,
    parse_query,
)
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES

OURS = ["https://us.example/fhir"]


def the_filter(name: str, value: str, kind: str = "Task") -> Filter:
    (asked,) = parse_query(kind, [(name, value)], bases=OURS).filters
    return asked


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("R-1", (TokenValue(None, "R-1"),)),
        ("https://s|R-1", (TokenValue("https://s", "R-1"),)),
        ("|R-1", (TokenValue("", "R-1"),)),
        ("https://s|", (TokenValue("https://s", None),)),
        ("a,b", (TokenValue(None, "a"), TokenValue(None, "b"))),
        (r"a\,b", (TokenValue(None, "a,b"),)),
        (r"s|a\|b,c", (TokenValue("s", "a|b"), TokenValue(None, "c"))),
        (r"a\\,b", (TokenValue(None, "a\\"), TokenValue(None, "b"))),
        (r"a\$b", (TokenValue(None, "a$b"),)),
    ],
)
def test_token_is_read_in_its_four_forms(value: str, expected: tuple[TokenValue, ...]) -> None:
    assert the_filter("identifier", value).values == expected


def test_comma_is_or_and_repetition_is_and() -> None:
    query = parse_query("Task", [("status", "requested,accepted"), ("status:not", "draft")])

    assert query.filters == (
        Filter("status", "token", (TokenValue(None, "requested"), TokenValue(None, "accepted"))),
        Filter("status", "token", (TokenValue(None, "draft"),), "not"),
    )


def test_status_may_name_its_own_system_and_no_other() -> None:
    assert the_filter("status", "http://hl7.org/fhir/task-status|accepted").values == (
        TokenValue(None, "accepted"),
    )
    with pytest.raises(ResourceRejected):
        the_filter("status", "http://hl7.org/fhir/request-status|accepted")
    with pytest.raises(ResourceRejected):
        the_filter("status", "http://hl7.org/fhir/task-status|")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("owner", "Organization/x", ("Organization/x",)),
        ("owner:Organization", "x", ("Organization/x",)),
        ("owner:Organization", "Organization/x", ("Organization/x",)),
        ("owner", "https://us.example/fhir/Organization/x", ("Organization/x",)),
        ("owner", "Organization/x/_history/2", ("Organization/x",)),
        ("owner", "https://them.example/Organization/x", ("https://them.example/Organization/x",)),
        ("patient", "p1", ("Patient/p1",)),
        ("patient", "Patient/p1,p2", ("Patient/p1", "Patient/p2")),
    ],
)
def test_reference_becomes_what_the_store_compares(
    name: str, value: str, expected: tuple[str, ...]
) -> None:
    assert the_filter(name, value).values == expected


def test_bare_id_of_an_owner_may_be_of_any_owning_type() -> None:
    values = the_filter("owner", "x").values

    assert {"Organization/x", "PractitionerRole/x", "HealthcareService/x"} <= set(values)


def test_subject_asks_what_patient_asks() -> None:
    assert the_filter("subject", "p1") == the_filter("patient", "p1")
    assert the_filter("subject", "Group/g1").values == ("Group/g1",)


def test_missing_takes_true_or_false() -> None:
    assert the_filter("owner:missing", "true") == Filter("owner", "reference", (True,), "missing")
    assert the_filter("status:missing", "false").values == (False,)


@pytest.mark.parametrize(
    ("value", "lower", "upper", "negated"),
    [
        ("2026-02", (2026, 2, 1), (2026, 3, 1), False),
        ("eq2026-02-03", (2026, 2, 3), (2026, 2, 4), False),
        ("ne2026", (2026, 1, 1), (2027, 1, 1), True),
        ("gt2026-02", (2026, 3, 1), None, False),
        ("sa2026-02", (2026, 3, 1), None, False),
        ("ge2026-02", (2026, 2, 1), None, False),
        ("lt2026-02", None, (2026, 2, 1), False),
        ("eb2026-02", None, (2026, 2, 1), False),
        ("le2026-02", None, (2026, 3, 1), False),
    ],
)
def test_date_prefix_becomes_an_interval(
    value: str,
    lower: tuple[int, int, int] | None,
    upper: tuple[int, int, int] | None,
    negated: bool,
) -> None:
    (asked,) = the_filter("_lastUpdated", value).values

    assert asked == DateValue(
        datetime(*lower, tzinfo=UTC) if lower else None,
        datetime(*upper, tzinfo=UTC) if upper else None,
        negated,
    )


def test_profile_matches_with_and_without_version() -> None:
    assert the_filter("_profile", "https://p.example/x|7.0.0").values == ("https://p.example/x",)


def test_control_parameters_shape_the_answer() -> None:
    pairs = [
        *(("_count", "20"), ("_sort", "-_lastUpdated"), ("_total", "accurate")),
        *(("_summary", "count"), ("_format", "json")),
    ]

    assert parse_query("Task", pairs) == Query(
        "Task",
        count=20,
        sort="-_lastUpdated",
        total="accurate",
        summary_count=True,
        format="json",
        applied=tuple(pairs),
    )


def test_unknown_parameters_are_collected_and_not_applied() -> None:
    query = parse_query(
        "Task", [("_lastupdated", "gt2026"), ("patient.identifier", "x"), ("status", "accepted")]
    )

    assert query.unknown == ("_lastupdated", "patient.identifier")
    assert query.applied == (("status", "accepted"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("status", ""), ("status", "a,,b"), ("status:exact", "a"), ("identifier:not", "a")),
        *(("identifier", "a|b|c"), ("identifier", "|"), ("owner:missing", "maybe")),
        *(("owner", "Organization/x y"), ("owner", "urn:uuid:1"), ("patient", "Organization/x")),
        *(("_lastUpdated", "ap2026"), ("_lastUpdated", "2026-02-30"), ("_lastUpdated", "gt")),
        *(("_lastUpdated", "2026-02-03T10:00:00 08:00"), ("_count", "-1"), ("_count", "many")),
        *(("_sort", "status"), ("_total", "yes"), ("_summary", "text"), ("_count", "٣")),
        *(("_id:missing", "true"), ("_lastUpdated:missing", "true"), ("owner:Group", "x")),
    ],
)
def test_what_cannot_be_searched_is_refused_as_a_bad_request(name: str, value: str) -> None:
    with pytest.raises(ResourceRejected) as caught:
        parse_query("Task", [(name, value)])

    (issue,) = caught.value.issues
    assert (issue.code, issue.rule) == ("value", "search-parameter")
    assert status_of(caught.value) == 400
    assert len(value) < 5 or value not in issue.message


def test_control_given_twice_unknown_type_and_too_many_values_are_refused() -> None:
    for kind, pairs in [
        ("Task", [("_count", "1"), ("_count", "2")]),
        ("Medication", []),
        ("Task", [("identifier", ",".join(["x"] * 501))]),
    ]:
        with pytest.raises(ResourceRejected):
            parse_query(kind, pairs)


def escaped(text: str) -> str:
    for mark in "\\,|$":
        text = text.replace(mark, f"\\{mark}")
    return text


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
def test_escaped_values_come_back_as_they_were(values: list[str]) -> None:
    asked = the_filter("identifier", ",".join(escaped(value) for value in values))

    assert [value.code for value in asked.values] == values


@given(st.sampled_from(sorted(PARAMETERS["Task"])), st.text(max_size=20))
def test_any_text_is_a_query_or_a_bad_request(name: str, value: str) -> None:
    try:
        parse_query("Task", [(name, value)])
    except ResourceRejected as error:
        assert status_of(error) == 400


def test_task_is_indexed_by_its_tokens_and_columns() -> None:
    task = {
        "resourceType": "Task",
        "id": "t1",
        "meta": {"profile": ["https://p.example/x|3.0.0"], "lastUpdated": "2026-01-01T00:00:00Z"},
        "identifier": [
            {"system": "https://s", "value": "R-1"},
            {"value": "R-1"},
            {"system": "https://s", "value": "R-1"},
            {"system": "https://s"},
        ],
        "status": "accepted",
        "owner": {"reference": "https://us.example/fhir/Organization/o"},
        "requester": {"reference": "Organization/r/_history/3"},
        "for": {"reference": "Patient/p"},
    }

    assert index_values(task, bases=OURS) == IndexValues(
        tokens=(
            ("identifier", "https://s", "R-1"),
            ("identifier", "", "R-1"),
            ("_profile", "", "https://p.example/x"),
        ),
        status="accepted",
        owner="Organization/o",
        requester="Organization/r",
        patient="Patient/p",
    )


def test_service_request_and_other_types_are_indexed_by_what_they_have() -> None:
    request = {
        "resourceType": "ServiceRequest",
        "status": "active",
        "subject": {"reference": "Patient/p"},
        "requester": {"identifier": {"value": "x"}},
    }
    bundle = {"resourceType": "Bundle", "type": "history", "identifier": {"value": "B-1"}}

    assert index_values(request) == IndexValues(status="active", patient="Patient/p")
    assert index_values(bundle) == IndexValues(tokens=(("identifier", "", "B-1"),))
    assert index_values({"resourceType": "Provenance"}) == IndexValues()


def test_every_supported_type_can_be_searched_by_id_and_update() -> None:
    assert set(PARAMETERS) == SUPPORTED_TYPES
    for kind, parameters in PARAMETERS.items():
        assert {"_id", "_lastUpdated"} <= set(parameters)
        for name, parameter in parameters.items():
            assert name == parameter.name
            assert parameter.expression.startswith(f"{kind}.")


def test_every_parameter_extracts_from_a_task() -> None:
    task = {"resourceType": "Task", "id": "t1", "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}}

    assert PARAMETERS["Task"]["_id"].extract(task) == (("", "t1"),)
    assert PARAMETERS["Task"]["_lastUpdated"].extract(task) == (("", "2026-01-01T00:00:00Z"),)
