"""What is no FHIR is found, at its place, without repeating what was sent."""

from __future__ import annotations

import copy
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_hub_bridge.fhir.codec import ExactDecimal, parse_json
from fhir_hub_bridge.fhir.definitions import codes_of, resource_types, structure
from fhir_hub_bridge.fhir.typed import from_typed, to_typed
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES, issues_of

Json = dict[str, Any]
TASK: Json = {
    "resourceType": "Task",
    "id": "t1",
    "status": "requested",
    "intent": "order",
    "code": {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill"}]},
    "for": {"reference": "Patient/p1"},
    "authoredOn": "2026-01-05T10:00:00-08:00",
    "input": [{"type": {"text": "dose"}, "valueDecimal": ExactDecimal("72.50")}],
}


def with_input(**value: Any) -> Json:
    return {**TASK, "input": [{"type": {"text": "x"}, **value}]}


def found(resource: Json) -> list[tuple[str, str]]:
    return [(issue.place, issue.rule) for issue in issues_of(resource)]


def test_good_resource_has_no_issues() -> None:
    assert issues_of(TASK) == []


@pytest.mark.parametrize(
    ("change", "place", "rule"),
    [
        ({"status": "foo"}, "Task.status", "required-code"),
        ({"intent": "wish"}, "Task.intent", "required-code"),
        ({"priority": "now"}, "Task.priority", "required-code"),
        ({"id": "a_b"}, "Task.id", "resource-id"),
        ({"id": ".."}, "Task.id", "resource-id"),
        ({"authoredOn": "2026-02-30T00:00:00Z"}, "Task.authoredOn", "element-type"),
        ({"authoredOn": "2026-01-05T10:00:00"}, "Task.authoredOn", "element-type"),
        ({"note": {"text": "x"}}, "Task.note", "element-type"),
        ({"foo": "bar"}, "Task.foo", "element-unknown"),
        ({"for_fhir": {"reference": "x"}}, "Task.?", "element-unknown"),
        ({"fhir_comments": "x"}, "Task.?", "element-unknown"),
        ({"for": "x"}, "Task.for", "element-type"),
        ({"for": '{"reference":"Patient/1"}'}, "Task.for", "element-type"),
        ({"for": {"reference": "x", "foo": 1}}, "Task.for.foo", "element-unknown"),
        ({"note": []}, "Task.note", "json-empty"),
        ({"for": {}}, "Task.for", "json-empty"),
        ({"description": " "}, "Task.description", "json-empty"),
        ({"description": None}, "Task.description", "json-empty"),
        ({"contained": [{"resourceType": "Nope"}]}, "Task.contained[0]", "resource-type"),
        ({"contained": [{}]}, "Task.contained[0]", "resource-type"),
        ({"for": {"reference": "Foo/1"}}, "Task.for.reference", "reference-form"),
        ({"for": {"reference": "a b"}}, "Task.for.reference", "reference-form"),
        ({"for": {"reference": " "}}, "Task.for.reference", "json-empty"),
        ({"for": {"reference": "#x"}}, "Task.for", "ref-1"),
        ({"owner": {"reference": "Location/1"}}, "Task.owner.reference", "reference-target"),
        (
            {"owner": {"reference": "https://x.example/fhir/Location/1"}},
            "Task.owner.reference",
            "reference-target",
        ),
        ({"owner": {"type": "Location", "display": "x"}}, "Task.owner.type", "reference-target"),
        (
            {"owner": {"reference": "Patient/1", "type": "Device"}},
            "Task.owner.type",
            "reference-type",
        ),
        ({"_description": {"id": "x"}, "description": None}, "Task.description", "json-empty"),
        ({"_priority": {"id": "x"}}, "Task.priority", "ele-1"),
        ({"for": {"id": "x"}}, "Task.for", "ele-1"),
        ({"extension": [{"url": "urn:x"}]}, "Task.extension[0]", "ext-1"),
        ({"extension": [{"valueCode": "x"}]}, "Task.extension[0].url", "element-required"),
        (
            {
                "_status": {
                    "extension": [{"url": "x", "valuePeriod": {"start": "2026", "end": "2025"}}]
                }
            },
            "Task.status.extension[0].value",
            "per-1",
        ),
        (
            {"executionPeriod": {"start": "2026-02-02", "end": "2026-02-01"}},
            "Task.executionPeriod",
            "per-1",
        ),
        ({"restriction": {"repetitions": 3.0}}, "Task.restriction.repetitions", "element-type"),
        ({"code": {"coding": [{"code": "a  b"}]}}, "Task.code.coding[0].code", "element-type"),
        ({"text": {"status": "generated", "div": "<div> </div>"}}, "Task.text.div", "txt-2"),
        ({"contained": ["x"]}, "Task.contained[0]", "element-type"),
        (
            {"contained": [{"resourceType": "Patient", "gender": "x"}]},
            "Task.contained[0].gender",
            "required-code",
        ),
        (
            {"text": {"status": "generated", "div": "<div><script/></div>"}},
            "Task.text.div",
            "narrative-safe",
        ),
    ],
)
def test_fault_is_found_at_its_place(change: Json, place: str, rule: str) -> None:
    assert (place, rule) in found({**TASK, **change})


@pytest.mark.parametrize("element", ["status", "intent"])
def test_required_element_is_missed(element: str) -> None:
    task = {key: value for key, value in TASK.items() if key != element}

    assert found(task) == [(f"Task.{element}", "element-required")]


@pytest.mark.parametrize(
    "value",
    [
        *({"valueBoolean": "true"}, {"valueBoolean": 1}, {"valueInteger": "3"}),
        *({"valueInteger": 3.0}, {"valueInteger": Decimal("3.0")}, {"valueInteger": True}),
        *({"valueDecimal": "3.5"}, {"valueDecimal": True}, {"valueInstant": 5}),
        *({"valueBase64Binary": "!!"}, {"valueDate": 5}, {"valueString": 5}),
        *({"valueReference": '{"reference":"Patient/1"}'}, {"valueInteger": 2**31}),
    ],
)
def test_value_of_another_json_type_is_found(value: Json) -> None:
    assert found(with_input(**value)) == [("Task.input[0].value", "element-type")]


@pytest.mark.parametrize(
    "value",
    [
        *({"valueBoolean": True}, {"valueInteger": 3}, {"valueDecimal": 3}, {"valueUri": "urn:x"}),
        *({"valueDecimal": ExactDecimal("1e2")}, {"valueBase64Binary": "aGVs\nbG8="}),
        *({"valueDate": "2026-02"}, {"valueTime": "10:00:00"}, {"valueQuantity": {"value": 1}}),
    ],
)
def test_value_of_the_right_type_passes(value: Json) -> None:
    assert found(with_input(**value)) == []


def test_choice_of_type_must_be_made_once() -> None:
    assert found(with_input()) == [("Task.input[0].value", "element-choice")]
    assert found(with_input(valueString="a", valueBoolean=True)) == [
        ("Task.input[0].value", "element-choice")
    ]


def test_gaps_in_paired_arrays_may_be_null_and_others_not() -> None:
    extension = {"extension": [{"url": "https://x.example/e", "valueCode": "y"}]}
    paired = {"given": ["A", None], "_given": [None, extension]}

    assert found({"resourceType": "Patient", "name": [paired]}) == []
    assert found({"resourceType": "Patient", "name": [{"given": ["A", None]}]}) == [
        ("Patient.name[0].given[1]", "json-empty")
    ]


def test_resources_in_a_bundle_are_judged_each() -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": TASK}, {"resource": {**TASK, "status": "foo"}}],
    }

    assert found(bundle) == [("Bundle.entry[1].resource.status", "required-code")]


@pytest.mark.parametrize(
    "resource", [{}, {"resourceType": "Medication"}, {"resourceType": ["Task"]}]
)
def test_type_that_is_not_taken_is_told(resource: Json) -> None:
    (issue,) = issues_of(resource)

    assert (issue.code, issue.rule) == ("not-supported", "resource-type")


def bound_elements() -> list[tuple[str, str]]:
    return [
        (kind, element.name)
        for kind in sorted(SUPPORTED_TYPES)
        for element in structure(kind).children()
        if element.strength == "required"
        and element.types[0].code == "code"
        and not element.is_list
    ]


@pytest.mark.parametrize(("kind", "element"), bound_elements())
def test_every_required_code_is_guarded(kind: str, element: str) -> None:
    (definition,) = (e for e in structure(kind).children() if e.name == element)
    place = f"{kind}.{element}"

    assert (place, "required-code") in found({"resourceType": kind, element: "no-such-code"})
    for codes in (codes_of(definition.binding) or {}).values():
        for code in codes:
            assert (place, "required-code") not in found({"resourceType": kind, element: code})


def test_code_that_is_no_code_is_told_which_there_are() -> None:
    (issue,) = issues_of({**TASK, "priority": "now"})

    assert issue.message == "The code must be one of asap, routine, stat, urgent."
    assert issue.code == "code-invalid"


def test_types_beyond_the_served_ones_are_judged_when_asked() -> None:
    flag = {
        "resourceType": "Flag",
        "status": "active",
        "code": {"text": "-"},
        "subject": {"reference": "Patient/p"},
    }

    assert [issue.rule for issue in issues_of(flag)] == ["resource-type"]
    assert issues_of(flag, types=resource_types()) == []
    assert [i.rule for i in issues_of({**flag, "member": [{}]}, types=resource_types())] != []


def test_all_faults_are_told_of_at_once() -> None:
    task = {**TASK, "status": "foo", "authoredOn": "2026-02-30", "note": [{}], "foo": 1}

    assert {("Task.status", "required-code"), ("Task.authoredOn", "element-type")} | {
        ("Task.note[0]", "json-empty"),
        ("Task.note[0].text", "element-required"),
        ("Task.foo", "element-unknown"),
    } == set(found(task))


def test_place_is_fhirpath_where_json_has_names_of_its_own() -> None:
    broken = {"extension": [{"url": "https://x.example/e", "valueInteger": "3"}]}
    name = {"given": ["A", "B"], "_given": [None, broken]}

    assert found({"resourceType": "Patient", "name": [name], "deceasedBoolean": 1}) == [
        ("Patient.deceased", "element-type"),
        ("Patient.name[0].given[1].extension[0].value", "element-type"),
    ]


def test_reference_to_the_container_and_to_what_it_contains_holds() -> None:
    inner = {"resourceType": "Patient", "id": "p", "managingOrganization": {"reference": "#o"}}
    organization = {"resourceType": "Organization", "id": "o", "name": "Example"}
    task = {**TASK, "contained": [inner, organization], "for": {"reference": "#p"}}

    assert found(task) == []
    assert found({**task, "owner": {"reference": "#o"}}) == []
    assert found({**task, "requester": {"reference": "#"}}) == []
    assert found({**task, "basedOn": [{"reference": "#nobody"}]}) == [("Task.basedOn[0]", "ref-1")]
    # Requester is no Group, wherever it stands.
    group = {"resourceType": "Group", "id": "p", "type": "person", "actual": False}
    assert found({**task, "contained": [group], "requester": {"reference": "#p"}}) == [
        ("Task.requester.reference", "reference-target")
    ]


@pytest.mark.parametrize(
    "reference",
    [
        *("Patient/1", "Patient/1/_history/2", "https://x.example/fhir/Patient/1"),
        *("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "Patient?identifier=urn:x|1"),
        *("https://x.example/no-fhir", "https://x.example/Foo/1", "urn:oid:1.2.3"),
    ],
)
def test_reference_of_any_right_form_is_taken(reference: str) -> None:
    assert found({**TASK, "owner": {"reference": reference}}) == []


def test_inside_a_bundle_each_resource_has_its_own_contained_ones() -> None:
    patient = {"resourceType": "Patient", "id": "p"}
    whole = {**TASK, "contained": [patient], "for": {"reference": "#p"}}
    bundle = {"resourceType": "Bundle", "type": "collection"}

    assert found({**bundle, "entry": [{"resource": whole}]}) == []
    assert found(
        {
            **bundle,
            "entry": [{"resource": whole}, {"resource": {**TASK, "focus": {"reference": "#p"}}}],
        }
    ) == [("Bundle.entry[1].resource.focus", "ref-1")]


def test_decimals_of_any_precision_are_no_fault() -> None:
    quantity = {"value": ExactDecimal("72.500"), "unit": "kg"}

    assert found(with_input(valueQuantity=quantity)) == []
    assert found(with_input(valueRange={"low": quantity, "high": {"value": 72}})) == []
    assert found(with_input(valueRange={"low": quantity, "high": {**quantity, "value": 72}})) == [
        ("Task.input[0].value", "rng-2")
    ]


def test_resource_nested_beyond_all_sense_is_an_issue() -> None:
    extension: Json = {"url": "https://x.example/e", "valueCode": "y"}
    for _ in range(2000):
        extension = {"url": "https://x.example/e", "extension": [extension]}

    assert found({**TASK, "extension": [extension]}) == [("", "json-depth")]


def test_messages_repeat_nothing_of_the_member() -> None:
    secret = "Zebulon"
    patient = {
        "resourceType": "Patient",
        "id": f"{secret} 1",
        "gender": secret,
        "birthDate": secret,
        "active": secret,
        "name": secret,
        f"{secret} {secret}": secret,
        "telecom": [secret],
        "contained": [{"resourceType": secret}],
        "text": {"status": secret, "div": f"<script>{secret}"},
    }

    issues = [*issues_of(patient), *issues_of({**patient, "contained": [{"id": secret}]})]

    assert len(issues) > 5
    assert secret not in repr(issues)


def test_flood_of_faults_is_cut() -> None:
    assert len(issues_of({**TASK, **{f"x{n}": n for n in range(200)}})) == 50


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "reference", "text", "div", "coding", "value", "id"])
            | st.text(max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
ELEMENTS = [
    "id",
    "meta",
    "text",
    "contained",
    "extension",
    "status",
    "code",
    "for",
    "input",
    "entry",
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(sorted(SUPPORTED_TYPES)),
    st.dictionaries(st.sampled_from(ELEMENTS), JSON, max_size=4),
)
def test_any_json_is_judged_without_accident(kind: str, elements: Json) -> None:
    resource = {**elements, "resourceType": kind}
    before = copy.deepcopy(resource)

    issues = issues_of(resource)

    assert all(issue.message and issue.rule for issue in issues)
    assert resource == before


def test_typed_form_goes_there_and_back_with_its_decimals() -> None:
    typed = to_typed(TASK)

    assert typed.for_fhir.reference == "Patient/p1"
    assert type(typed).__module__.startswith("fhir.resources.R4B.")
    assert from_typed(typed) == TASK
    assert str(from_typed(typed)["input"][0]["valueDecimal"]) == "72.50"


def test_fhir_package_starts_without_the_slow_classes() -> None:
    code = (
        "import sys, fhir_hub_bridge.fhir.search, fhir_hub_bridge.fhir.typed,"
        " fhir_hub_bridge.fhir.bundle, fhir_hub_bridge.fhir.outcome;"
        "sys.exit('fhir' in sys.modules or 'pydantic' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_judging_needs_none_of_the_slow_classes() -> None:
    code = (
        "import sys; from fhir_hub_bridge.fhir.validation import issues_of;"
        "issues_of({'resourceType':'Task','status':'draft','intent':'order'});"
        "sys.exit('fhir' in sys.modules or 'pydantic' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parsed_body_is_judged_as_it_came() -> None:
    body = b'{"resourceType":"Task","status":"draft","intent":"order","input":[{"type":{"text":"x"},"valueDecimal":1e2}]}'  # noqa: E501

    assert issues_of(parse_json(body)) == []
