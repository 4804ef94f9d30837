"""Searches read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.outcome import status_of
from fhir_hub_bridge.fhir.search import (
    PARAMETERS,
    Chain,
    DateValue,
    Filter,
    Has,
    Include,
    Query,
    SortKey,
    StringValue,
    TokenValue,
    compartment_query,
    parse_query,
)
from fhir_hub_bridge.fhir.search_values import FAR_FUTURE, FAR_PAST, CompositeValue

OURS = ["https://us.example/fhir"]


def the_condition(name: str, value: str, kind: str = "Task") -> Filter | Chain | Has:
    (asked,) = parse_query(kind, [(name, value)], bases=OURS).filters
    return asked


def the_filter(name: str, value: str, kind: str = "Task") -> Filter:
    asked = the_condition(name, value, kind)
    assert isinstance(asked, Filter)
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
        Filter(
            "status",
            "token",
            (TokenValue(None, "requested"), TokenValue(None, "accepted")),
            column="status",
        ),
        Filter("status", "token", (TokenValue(None, "draft"),), "not", "status"),
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


def test_code_of_an_element_that_has_no_system_is_found_with_its_own() -> None:
    system = "http://hl7.org/fhir/request-intent"

    assert the_filter("intent", f"{system}|order", "ServiceRequest").values == (
        TokenValue(None, "order"),
    )
    assert the_filter("intent", "other|order", "ServiceRequest").values == (
        TokenValue("other", "order"),
    )
    with pytest.raises(ResourceRejected):
        the_filter("intent", f"{system}|", "ServiceRequest")


def test_subject_asks_of_more_than_patients() -> None:
    assert the_filter("subject", "Group/g1").values == ("Group/g1",)
    assert the_filter("subject", "Group/g1").column == ""
    assert {"Patient/p1", "Group/p1"} <= set(the_filter("subject", "p1").values)


def test_missing_takes_true_or_false() -> None:
    assert the_filter("owner:missing", "true") == Filter(
        "owner", "reference", (True,), "missing", "owner"
    )
    assert the_filter("status:missing", "false").values == (False,)


def test_logical_reference_is_asked_for_by_its_identifier() -> None:
    assert the_filter("owner:identifier", "https://s|v") == Filter(
        "owner", "reference", (TokenValue("https://s", "v"),), "identifier"
    )


@pytest.mark.parametrize(
    ("value", "prefix", "lower", "upper"),
    [
        ("2026-02", "eq", (2026, 2, 1), (2026, 3, 1)),
        ("eq2026-02-03", "eq", (2026, 2, 3), (2026, 2, 4)),
        ("ne2026", "ne", (2026, 1, 1), (2027, 1, 1)),
        ("sa2026-02", "sa", (2026, 2, 1), (2026, 3, 1)),
        ("ap2026", "ap", (2025, 1, 1), (2028, 1, 1)),
        ("ap2026-12", "ap", (2026, 11, 1), (2027, 2, 1)),
        ("ap2026-03-01", "ap", (2026, 2, 28), (2026, 3, 3)),
    ],
)
def test_date_is_a_prefix_and_an_interval(
    value: str, prefix: Any, lower: tuple[int, int, int], upper: tuple[int, int, int]
) -> None:
    expected = DateValue(prefix, datetime(*lower, tzinfo=UTC), datetime(*upper, tzinfo=UTC))

    assert the_filter("authored-on", value).values == (expected,)


@pytest.mark.parametrize("value", ["ap0001", "ap0001-01", "ap0001-01-01"])
def test_time_does_not_begin_before_its_beginning(value: str) -> None:
    assert the_filter("authored-on", value).values[0].lower == FAR_PAST


@pytest.mark.parametrize("value", ["ap9999", "ap9999-12", "ap9999-12-31"])
def test_time_does_not_end_after_its_end(value: str) -> None:
    assert the_filter("authored-on", value).values[0].upper == FAR_FUTURE


def test_string_is_folded_and_kept_as_it_was() -> None:
    expected = Filter("name", "string", (StringValue("nunez", "Núñez"), StringValue("b c", "B, C")))

    assert the_filter("name", r"Núñez,B\, C", "Patient") == expected
    assert the_filter("name:exact", "-", "Patient").values == (StringValue("", "-"),)
    assert the_filter("name:contains", "a", "Patient").modifier == "contains"


def test_composite_is_its_parts() -> None:
    assert the_filter("characteristic-value", r"s|a$true,b\$c$s|d", "Group").values == (
        CompositeValue(("s|a", "true")),
        CompositeValue(("b$c", "s|d")),
    )


def test_canonical_is_compared_without_its_version() -> None:
    asked = the_filter("questionnaire", "https://q|1.0", "QuestionnaireResponse")

    assert asked.values == ("https://q",)


def test_profile_matches_with_and_without_version() -> None:
    assert the_filter("_profile", "https://p.example/x|7.0.0").values == ("https://p.example/x",)


def test_chain_asks_what_is_named() -> None:
    identifier = Filter("identifier", "token", (TokenValue("s", "v"),))

    assert the_condition("patient.identifier", "s|v") == Chain(
        "patient", ("Patient",), identifier, "patient"
    )
    assert the_condition("owner:Organization.identifier", "s|v") == Chain(
        "owner", ("Organization",), identifier, "owner"
    )
    assert the_condition("part-of.status:not", "draft") == Chain(
        "part-of",
        ("Task",),
        Filter("status", "token", (TokenValue(None, "draft"),), "not", "status"),
    )


def test_chain_over_several_types_asks_the_same_of_all() -> None:
    asked = the_condition("owner.identifier", "v")

    assert isinstance(asked, Chain)
    assert {"Organization", "PractitionerRole", "Patient"} <= set(asked.targets)
    with pytest.raises(ResourceRejected):
        the_condition("focus.status", "active")


def test_has_asks_who_names_it() -> None:
    assert the_condition("_has:Task:patient:status", "requested", "Patient") == Has(
        "Task",
        "patient",
        Filter("status", "token", (TokenValue(None, "requested"),), column="status"),
        "patient",
    )


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        ("Task", "_include", "Task:focus", Include("Task", "focus")),
        ("Task", "_include", "*", Include("Task", "*")),
        ("Task", "_include", "Task:*", Include("Task", "*")),
        (
            "Task",
            "_include:iterate",
            "ServiceRequest:patient:Patient",
            Include("ServiceRequest", "patient", "Patient", iterate=True, column="patient"),
        ),
        (
            "ServiceRequest",
            "_revinclude",
            "Task:focus",
            Include("Task", "focus", reverse=True),
        ),
        (
            "HealthcareService",
            "_include",
            "HealthCareService:location",
            Include("HealthcareService", "location"),
        ),
    ],
)
def test_inclusion_is_read(kind: str, name: str, value: str, expected: Include) -> None:
    assert parse_query(kind, [(name, value)]).includes == (expected,)


def test_control_parameters_shape_the_answer() -> None:
    pairs = [
        *(("_count", "20"), ("_sort", "-_lastUpdated,status"), ("_total", "accurate")),
        *(("_summary", "count"), ("_elements", "status,Task.owner"), ("_format", "json")),
        ("_pretty", "true"),
    ]

    assert parse_query("Task", pairs) == Query(
        "Task",
        count=20,
        sort=(SortKey("_lastUpdated", "date", True), SortKey("status", "token", column="status")),
        total="accurate",
        summary="count",
        elements=("status", "owner"),
        format="json",
        applied=tuple(pairs),
    )


def test_last_updated_may_be_spelled_as_the_guides_do() -> None:
    query = parse_query("Task", [("_lastupdated", "gt2026"), ("_sort", "-_lastupdated")])

    assert query.filters == (the_filter("_lastUpdated", "gt2026"),)
    assert query.sort == (SortKey("_lastUpdated", "date", True),)


def test_unknown_parameters_are_collected_and_not_applied() -> None:
    names = [
        *("_text", "_content", "_filter", "_query", "_list", "_contained", "_containedType"),
        *("colour", "colour.identifier", "owner.colour", "_has:Task:owner:colour", "status.x"),
    ]
    query = parse_query("Organization", [*((name, "x") for name in names), ("name", "A")])

    assert query.unknown == tuple(names)
    assert query.applied == (("name", "A"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("status", ""), ("status", "a,,b"), ("status:exact", "a"), ("identifier:exact", "a")),
        *(("identifier", "a|b|c"), ("identifier", "|"), ("owner:missing", "maybe")),
        *(("owner", "Organization/x y"), ("owner", "urn:uuid:1"), ("patient", "Organization/x")),
        *(("_lastUpdated", "2026-1"), ("_lastUpdated", "2026-02-30"), ("_lastUpdated", "gt")),
        *(("_lastUpdated", "2026-02-03T10:00:00 08:00"), ("_count", "-1"), ("_count", "many")),
        *(("_sort", "colour"), ("_total", "yes"), ("_summary", "some"), ("_count", "٣")),
        *(("_sort", ""), ("_elements", ""), ("_elements", "a b"), ("_include", "Task:status")),
        *(("_include", "Colour:x"), ("_revinclude", "*"), ("_include:recurse", "Task:focus")),
        *(("_include", "Task:focus:Colour"), ("_include", "Task:focus:Task:x"), ("_include", "")),
        *(("patient.identifier", ""), ("focus.patient.name", "x"), ("owner:Group.name", "x")),
        *(("_has:Task", "x"), ("_has:Task:part-of:_has:Task:focus:status", "x")),
        *(("_has:Patient:link:_id", "x"), ("owner:identifier", "|"), ("owner:not", "x")),
        *(("authored-on:exact", "2026"), ("_profile:below", "x"), ("owner:Patient", "Group/x")),
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


NAMES = [
    *sorted(PARAMETERS["Task"]),
    *("owner:identifier", "focus:missing", "patient.name", "_has:Task:focus:status", "_include"),
    *("_revinclude:iterate", "_sort", "_elements", "_count", "_summary", "_total"),
]


@given(st.sampled_from(NAMES) | st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_query_or_a_bad_request(name: str, value: str) -> None:
    try:
        parse_query("Task", [(name, value)])
    except ResourceRejected as error:
        assert status_of(error) == 400


@given(st.sampled_from(["eq", "ne", "gt", "ap", ""]), st.dates() | st.datetimes())
def test_any_date_can_be_asked_for(prefix: str, moment: Any) -> None:
    (value,) = the_filter("authored-on", f"{prefix}{moment.isoformat()}").values

    assert value.lower < value.upper


def test_patients_compartment_is_reached_as_the_standard_says() -> None:
    assert compartment_query("p", "ServiceRequest") == (
        Filter("subject", "reference", ("Patient/p",)),
        Filter("performer", "reference", ("Patient/p",)),
    )
    assert compartment_query("p", "Coverage")[-1].values == ("Patient/p",)
    assert compartment_query("p", "Patient")[0] == Filter("_id", "token", (TokenValue(None, "p"),))
    assert compartment_query("p", "Task") == compartment_query("p", "Medication") == ()
