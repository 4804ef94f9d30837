"""What profiles ask beyond base R4, one feature each, by small made-up profiles."""

from __future__ import annotations

from typing import Any

import pytest
from tests.profile_builders import (
    BASE,
    CORE,
    a_library,
    a_package,
    a_profile,
    a_value_set,
    an_extension,
)

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.packages import EMPTY_LIBRARY, Library
from fhir_hub_bridge.fhir.profile_compiler import compiled_profile
from fhir_hub_bridge.fhir.profiles import declared, judged_in_full, profile_issues
from fhir_hub_bridge.fhir.validate import is_valid, validated

URL = f"{BASE}/StructureDefinition/test"
PLACER = {"coding": [{"system": "urn:types", "code": "PLAC"}]}
FILLER = {"coding": [{"system": "urn:types", "code": "FILL"}]}


def a_task(**changes: Any) -> Json:
    return {"resourceType": "Task", "status": "requested", "intent": "order", **changes}


def broken(resource: Json, *definitions: Json, profile: str = URL) -> list[tuple[str, str]]:
    """Place and rule of each issue, the first definition being the profile."""
    library = a_library(*definitions)
    found = profile_issues(resource, profiles=[profile], library=library)
    assert all(issue.severity == "error" for issue in found)
    return [(issue.place, issue.rule) for issue in found]


def on_task(resource: Json, *elements: Json) -> list[tuple[str, str]]:
    return broken(resource, a_profile("Task", *elements))


def notes(resource: Json, *definitions: Json) -> list[tuple[str, str, str]]:
    """Severity, place and message of all that is said in full."""
    found = judged_in_full(resource, profiles=[URL], library=a_library(*definitions))
    return [(issue.severity, issue.place, issue.message) for issue in found]


def test_a_required_element_must_be_there_be_it_only_with_an_extension() -> None:
    needed = {"id": "Task.authoredOn", "min": 1}
    absent = {"extension": [{"url": "urn:why", "valueCode": "unknown"}]}

    assert on_task(a_task(), needed) == [("Task.authoredOn", "profile-cardinality")]
    assert on_task(a_task(authoredOn="2026-11-20"), needed) == []
    assert on_task(a_task(_authoredOn=absent), needed) == []


def test_an_element_below_is_required_only_where_its_parent_is_there() -> None:
    needed = {"id": "Task.statusReason.text", "min": 1}

    assert on_task(a_task(), needed) == []
    assert on_task(a_task(statusReason={"coding": [{"code": "x"}]}), needed) == [
        ("Task.statusReason.text", "profile-cardinality")
    ]


def test_an_element_may_be_forbidden_or_limited() -> None:
    two = [{"system": "urn:x", "value": "1"}, {"system": "urn:x", "value": "2"}]

    assert on_task(a_task(identifier=two), {"id": "Task.identifier", "max": "1"}) == [
        ("Task.identifier", "profile-cardinality")
    ]
    assert on_task(a_task(description="x"), {"id": "Task.description", "max": "0"}) == [
        ("Task.description", "profile-cardinality")
    ]
    assert on_task(a_task(identifier=two[:1]), {"id": "Task.identifier", "min": 2}) == [
        ("Task.identifier", "profile-cardinality")
    ]


def test_a_fixed_value_is_the_whole_value_and_a_pattern_a_part_of_it() -> None:
    concept = {"coding": [{"system": "urn:s", "code": "a"}]}
    more = {"coding": [{"code": "b"}, {"system": "urn:s", "code": "a"}], "text": "A"}
    fixed = {"id": "Task.code", "fixedCodeableConcept": concept}
    pattern = {"id": "Task.code", "patternCodeableConcept": concept}

    assert on_task(a_task(code=concept), fixed) == []
    assert on_task(a_task(code=more), fixed) == [("Task.code", "profile-fixed")]
    assert on_task(a_task(code=more), pattern) == []
    assert on_task(a_task(code={"text": "A"}), pattern) == [("Task.code", "profile-pattern")]


def test_a_choice_may_be_narrowed_to_some_types() -> None:
    narrowed = {"id": "Task.input.value[x]", "type": [{"code": "string"}]}
    word = {"type": PLACER, "valueString": "x"}
    number = {"type": PLACER, "valueInteger": 1}

    assert on_task(a_task(input=[word, number]), narrowed) == [
        ("Task.input[1].value", "profile-type")
    ]


def test_a_choice_may_be_named_by_its_type() -> None:
    limited = {"id": "Task.input.valueString", "maxLength": 3}

    found = on_task(a_task(input=[{"type": PLACER, "valueString": "four"}]), limited)

    assert found == [("Task.input[0].value", "profile-length")]


def test_a_reference_names_one_of_the_target_types() -> None:
    owner = {
        "id": "Task.owner",
        "type": [{"code": "Reference", "targetProfile": [f"{CORE}Organization"]}],
    }

    assert on_task(a_task(owner={"reference": "Organization/1"}), owner) == []
    assert on_task(a_task(owner={"reference": "urn:uuid:x"}), owner) == []
    assert on_task(a_task(owner={"reference": "https://x.example/Patient/1"}), owner) == [
        ("Task.owner", "profile-target")
    ]


def test_what_is_contained_must_keep_the_profile_of_a_reference_to_it() -> None:
    organization = a_profile("Organization", {"id": "Organization.name", "min": 1}, id_="org")
    owner = a_profile(
        "Task",
        {
            "id": "Task.owner",
            "type": [{"code": "Reference", "targetProfile": [organization["url"]]}],
        },
    )
    nameless = {"resourceType": "Organization", "id": "o", "active": True}

    task = a_task(contained=[nameless], owner={"reference": "#o"})
    named = a_task(contained=[nameless | {"name": "Made up"}], owner={"reference": "#o"})

    assert broken(task, owner, organization) == [("Task.owner", "profile-target")]
    assert broken(named, owner, organization) == []
    assert broken(a_task(owner={"reference": "Organization/1"}), owner, organization) == []


def test_in_a_bundle_references_are_followed_to_the_other_entries() -> None:
    organization = a_profile("Organization", {"id": "Organization.name", "min": 1}, id_="org")
    owner = {
        "id": "Task.owner",
        "type": [{"code": "Reference", "targetProfile": [organization["url"]]}],
    }
    library = a_library(a_profile("Task", owner), organization)
    task = a_task(owner={"reference": "urn:uuid:1"}, meta={"profile": [URL]})
    entries = [
        {"fullUrl": "urn:uuid:2", "resource": task},
        {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Organization", "active": True}},
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}

    found = judged_in_full(bundle, profiles=[], library=library)

    assert [(i.place, i.rule) for i in found] == [
        ("Bundle.entry[0].resource.owner", "profile-target")
    ]


SLICED = (
    {
        "id": "Task.identifier",
        "slicing": {"discriminator": [{"type": "value", "path": "type"}], "rules": "open"},
    },
    {"id": "Task.identifier:placer", "min": 1, "max": "1"},
    {"id": "Task.identifier:placer.type", "patternCodeableConcept": PLACER},
    {"id": "Task.identifier:placer.value", "min": 1},
)


def test_a_slice_is_told_by_a_value_and_judged_by_its_own_rules() -> None:
    placer, filler = {"type": PLACER, "value": "1"}, {"type": FILLER, "system": "urn:x"}

    assert on_task(a_task(identifier=[filler, placer]), *SLICED) == []
    assert on_task(a_task(identifier=[filler, {"type": PLACER}]), *SLICED) == [
        ("Task.identifier[1].value", "profile-cardinality")
    ]


def test_a_slice_has_its_own_cardinality() -> None:
    placer, filler = {"type": PLACER, "value": "1"}, {"type": FILLER, "value": "1"}

    assert on_task(a_task(identifier=[filler]), *SLICED) == [("Task.identifier", "profile-slice")]
    assert on_task(a_task(), *SLICED) == [("Task.identifier", "profile-slice")]
    assert on_task(a_task(identifier=[placer, placer]), *SLICED) == [
        ("Task.identifier", "profile-slice")
    ]


@pytest.mark.parametrize(("rules", "places"), [("closed", [0]), ("openAtEnd", [1]), ("open", [])])
def test_values_of_no_slice_are_forbidden_or_come_last(rules: str, places: list[int]) -> None:
    slicing = {"discriminator": [{"type": "value", "path": "type"}], "rules": rules}
    filler, placer = {"type": FILLER, "value": "1"}, {"type": PLACER, "value": "1"}

    found = on_task(
        a_task(identifier=[filler, placer]), {**SLICED[0], "slicing": slicing}, *SLICED[1:]
    )

    assert found == [(f"Task.identifier[{place}]", "profile-slice") for place in places]


def test_ordered_slices_come_in_their_order() -> None:
    slicing = {
        "discriminator": [{"type": "value", "path": "system"}],
        "rules": "open",
        "ordered": True,
    }
    elements = (
        {"id": "Task.identifier", "slicing": slicing},
        {"id": "Task.identifier:a"},
        {"id": "Task.identifier:a.system", "fixedUri": "urn:a"},
        {"id": "Task.identifier:b"},
        {"id": "Task.identifier:b.system", "fixedUri": "urn:b"},
    )
    a, b = {"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "1"}

    assert on_task(a_task(identifier=[a, b]), *elements) == []
    assert on_task(a_task(identifier=[b, a]), *elements) == [
        ("Task.identifier[1]", "profile-slice")
    ]


def test_a_slice_is_told_by_the_pattern_of_the_value_itself() -> None:
    elements = (
        {
            "id": "Task.performerType",
            "slicing": {"discriminator": [{"type": "pattern", "path": "$this"}], "rules": "open"},
        },
        {"id": "Task.performerType:p", "max": "1", "patternCodeableConcept": PLACER},
        {"id": "Task.performerType:p.text", "min": 1},
    )

    assert on_task(a_task(performerType=[FILLER, {**PLACER, "text": "x"}]), *elements) == []
    assert on_task(a_task(performerType=[FILLER, PLACER]), *elements) == [
        ("Task.performerType[1].text", "profile-cardinality")
    ]


def test_a_slice_is_told_by_type() -> None:
    elements = (
        {
            "id": "Task.input",
            "slicing": {"discriminator": [{"type": "type", "path": "value"}], "rules": "closed"},
        },
        {"id": "Task.input:text", "max": "1"},
        {"id": "Task.input:text.value[x]", "type": [{"code": "string"}]},
    )
    word = {"type": PLACER, "valueString": "x"}

    assert on_task(a_task(input=[word]), *elements) == []
    assert on_task(a_task(input=[{"type": PLACER, "valueInteger": 1}]), *elements) == [
        ("Task.input[0]", "profile-slice")
    ]


def test_a_slice_is_told_by_what_is_there() -> None:
    elements = (
        {
            "id": "Task.identifier",
            "slicing": {"discriminator": [{"type": "exists", "path": "period"}], "rules": "open"},
        },
        {"id": "Task.identifier:dated", "max": "1"},
        {"id": "Task.identifier:dated.period", "min": 1},
    )
    dated = {"value": "1", "period": {"start": "2026"}}

    assert on_task(a_task(identifier=[dated, {"value": "2"}]), *elements) == []
    assert on_task(a_task(identifier=[dated, dated]), *elements) == [
        ("Task.identifier", "profile-slice")
    ]


def test_a_slice_is_told_by_the_profile_of_what_is_referred_to() -> None:
    referral = a_profile("ServiceRequest", {"id": "ServiceRequest.code", "min": 1}, id_="sr")
    task = a_profile(
        "Task",
        {
            "id": "Task.basedOn",
            "slicing": {
                "discriminator": [{"type": "profile", "path": "resolve()"}],
                "rules": "open",
            },
        },
        {
            "id": "Task.basedOn:sr",
            "min": 1,
            "type": [{"code": "Reference", "targetProfile": [referral["url"]]}],
        },
    )
    order: Json = {"resourceType": "ServiceRequest", "id": "s", "status": "active"}

    def based_on(contained: Json) -> Json:
        return a_task(contained=[contained], basedOn=[{"reference": "#s"}])

    assert broken(based_on(order | {"code": PLACER}), task, referral) == []
    assert broken(based_on(order), task, referral) == [("Task.basedOn", "profile-slice")]
    # What lies elsewhere may well be of the profile.
    elsewhere = a_task(basedOn=[{"reference": "ServiceRequest/1"}])
    assert broken(elsewhere, task, referral) == []


def with_extension(**rules: Any) -> tuple[Json, Json]:
    extension = an_extension("why", {"id": "Extension.value[x]", "type": [{"code": "string"}]})
    named = {"code": "Extension", "profile": [extension["url"]]}
    return a_profile("Task", {"id": "Task.extension:why", "type": [named], **rules}), extension


def test_an_extension_is_a_slice_by_its_url_and_judged_by_its_definition() -> None:
    url = f"{BASE}/StructureDefinition/why"
    right = a_task(extension=[{"url": url, "valueString": "x"}])
    wrong = a_task(extension=[{"url": url, "valueInteger": 1}])
    other = a_task(extension=[{"url": "urn:other", "valueInteger": 1}])

    assert broken(right, *with_extension(min=1)) == []
    assert broken(wrong, *with_extension(min=1)) == [("Task.extension[0].value", "profile-type")]
    assert broken(other, *with_extension(min=1)) == [("Task.extension", "profile-slice")]


def a_binding(strength: str, value_set: str = "colours") -> Json:
    url = f"{BASE}/ValueSet/{value_set}"
    return {"id": "Task.code", "binding": {"strength": strength, "valueSet": url}}


RED_AND_BLUE = a_value_set(
    "colours", include=[{"system": "urn:c", "concept": [{"code": "red"}, {"code": "blue"}]}]
)


def test_a_required_binding_wants_one_coding_of_the_set() -> None:
    profile = a_profile("Task", a_binding("required"))
    red, green = ({"system": "urn:c", "code": code} for code in ("red", "green"))

    assert broken(a_task(code={"coding": [green, red]}), profile, RED_AND_BLUE) == []
    for concept in ({"coding": [green]}, {"text": "red"}, {"coding": [{"code": "red"}]}):
        assert broken(a_task(code=concept), profile, RED_AND_BLUE) == [
            ("Task.code", "profile-binding")
        ]


def test_an_extensible_binding_only_warns() -> None:
    profile = a_profile("Task", a_binding("extensible"))
    task = a_task(code={"coding": [{"system": "urn:c", "code": "green"}]})

    assert broken(task, profile, RED_AND_BLUE) == []
    assert [n[:2] for n in notes(task, profile, RED_AND_BLUE)] == [("warning", "Task.code")]


def test_value_sets_include_whole_systems_and_other_sets_and_exclude_codes() -> None:
    system = {
        "resourceType": "CodeSystem",
        "url": "urn:c",
        "version": "1",
        "content": "complete",
        "concept": [{"code": "red", "concept": [{"code": "crimson"}]}, {"code": "blue"}],
    }
    everything = a_value_set("all", include=[{"system": "urn:c"}])
    reds = a_value_set(
        "colours",
        include=[{"valueSet": [everything["url"]]}],
        exclude=[{"system": "urn:c", "concept": [{"code": "blue"}]}],
    )
    profile = a_profile("Task", a_binding("required"))

    def found(code: str) -> list[tuple[str, str]]:
        task = a_task(code={"coding": [{"system": "urn:c", "code": code}]})
        return broken(task, profile, reds, everything, system)

    assert found("crimson") == []
    assert found("blue") == [("Task.code", "profile-binding")]


def test_of_a_system_that_is_not_held_the_system_alone_is_judged_and_that_is_said() -> None:
    snomed = a_value_set("colours", include=[{"system": "http://snomed.info/sct"}])
    profile = a_profile("Task", a_binding("required"))
    known = a_task(code={"coding": [{"system": "http://snomed.info/sct", "code": "1"}]})
    other = a_task(code={"coding": [{"system": "urn:c", "code": "1"}]})

    assert broken(known, profile, snomed) == []
    assert broken(other, profile, snomed) == [("Task.code", "profile-binding")]
    assert [n[:2] for n in notes(known, profile, snomed)] == [("information", "Task.code")]


def test_a_value_set_that_is_not_held_is_passed_over_and_that_is_said_once() -> None:
    profile = a_profile("Task", a_binding("required", "unknown"))
    task = a_task(code={"text": "x"})

    assert broken(task, profile) == []
    ((severity, place, message),) = notes(task, profile)
    assert (severity, place) == ("information", "Task.code")
    assert f"{BASE}/ValueSet/unknown" in message
    assert notes(a_task(), profile) == []


def an_invariant(expression: str, severity: str = "error") -> Json:
    human = "It must be so."
    constraint = {
        "key": "my-1",
        "severity": severity,
        "human": human,
        "expression": expression,
    }
    return {"id": "Task", "constraint": [constraint]}


def test_an_invariant_is_told_by_its_key_and_sentence() -> None:
    profile = a_profile("Task", an_invariant("status = 'draft' implies note.exists()"))

    assert broken(a_task(status="draft"), profile) == [("Task", "my-1")]
    assert broken(a_task(), profile) == []


def test_an_invariant_of_severity_warning_only_warns() -> None:
    profile = a_profile("Task", an_invariant("note.exists()", "warning"))

    assert broken(a_task(), profile) == []
    assert notes(a_task(), profile) == [("warning", "Task", "It must be so. (profile Test)")]


def test_an_invariant_that_cannot_be_judged_is_passed_over_and_that_is_said() -> None:
    profile = a_profile("Task", an_invariant("owner.resolve().exists()"))

    assert broken(a_task(), profile) == []
    ((severity, _, message),) = notes(a_task(), profile)
    assert severity == "information"
    assert "my-1" in message


def test_invariants_of_r4_itself_are_not_judged_again() -> None:
    source = f"{CORE}Task"
    broken_one = {"key": "inv-1", "severity": "error", "human": "x", "expression": "false"}
    profile = a_profile("Task", {"id": "Task", "constraint": [broken_one | {"source": source}]})

    assert broken(a_task(), profile) == []


def test_invariants_of_r4_without_a_source_are_known_by_their_keys() -> None:
    def false(key: str) -> Json:
        return {"key": key, "severity": "error", "human": "x", "expression": "false"}

    keys = ("inv-1", "dom-2", "dom-6", "mine-1")
    profile = a_profile(
        "Task",
        {"id": "Task", "constraint": [false(key) for key in keys]},
        {"id": "Task.code", "constraint": [false("ele-1")]},
    )

    assert broken(a_task(code={"text": "x"}), profile) == [("Task", "mine-1")]


def test_a_malformed_profile_or_value_set_asks_nothing_and_is_told() -> None:
    profile = a_profile("Task", {"id": "Task.focus", "max": "many"})
    bound = a_profile("Task", a_binding("required"))
    value_set = a_value_set("colours", include=[{"system": "urn:c", "concept": [{}]}])

    assert broken(a_task(), profile) == []
    assert "malformed" in notes(a_task(), profile)[0][2]
    assert broken(a_task(code={"text": "x"}), bound, value_set) == []


def test_a_differential_stands_on_its_parent_s() -> None:
    parent = a_profile("Task", *SLICED, {"id": "Task.focus", "min": 1}, id_="parent")
    child = a_profile(
        "Task",
        {"id": "Task.identifier:placer.system", "min": 1},
        baseDefinition=parent["url"],
    )
    task = a_task(identifier=[{"type": PLACER, "value": "1"}])

    assert broken(task, child, parent) == [
        ("Task.identifier[0].system", "profile-cardinality"),
        ("Task.focus", "profile-cardinality"),
    ]


def test_a_parent_that_is_not_held_is_told_and_the_rest_is_judged() -> None:
    child = a_profile("Task", {"id": "Task.focus", "min": 1}, baseDefinition="urn:missing")

    assert broken(a_task(), child) == [("Task.focus", "profile-cardinality")]
    assert any("urn:missing" in message for _, _, message in notes(a_task(), child))


def test_a_snapshot_stands_for_the_whole_chain() -> None:
    snapshot = {"element": [{"id": "Task", "path": "Task"}, SLICED_FOCUS]}
    profile = a_profile("Task", baseDefinition="urn:missing", snapshot=snapshot)

    assert broken(a_task(), profile) == [("Task.focus", "profile-cardinality")]


SLICED_FOCUS = {"id": "Task.focus", "path": "Task.focus", "min": 1, "max": "1"}


def test_a_data_type_has_profiles_too() -> None:
    npi = a_profile("Identifier", {"id": "Identifier.system", "fixedUri": "urn:npi"}, id_="npi") | {
        "kind": "complex-type"
    }
    task = a_profile(
        "Task",
        {
            "id": "Task.groupIdentifier",
            "type": [{"code": "Identifier", "profile": [npi["url"]]}],
        },
    )

    assert broken(a_task(groupIdentifier={"system": "urn:x"}), task, npi) == [
        ("Task.groupIdentifier.system", "profile-fixed")
    ]


def test_a_profile_of_another_type_is_refused_and_one_not_held_is_ignored() -> None:
    profile = a_profile("Patient")

    assert broken(a_task(), profile) == [("Task", "profile-type")]
    assert broken(a_task(), profile, profile="urn:unknown") == []


def test_a_named_profile_that_is_not_held_is_told_by_its_place() -> None:
    task = a_task(meta={"profile": [URL, "urn:made-up-secret"]})
    library = a_library(a_profile("Task"))

    found = validated(task, library=library)

    assert [(i.severity, i.place, i.rule) for i in found] == [
        ("information", "Task.meta.profile[1]", "profile-unknown")
    ]
    assert "secret" not in repr(found)


def test_versions_of_a_profile_stand_side_by_side() -> None:
    old = a_profile("Task", version="1.9.0")
    new = a_profile("Task", {"id": "Task.focus", "min": 1}, version="1.10.0")
    library = Library(lambda: [a_package(new), a_package(old)])

    def found(canonical: str) -> int:
        return len(profile_issues(a_task(), profiles=[canonical], library=library))

    assert found(URL) == 1
    assert found(f"{URL}|1.9.0") == 0
    assert found(f"{URL}|2.0.0") == 0


def test_no_message_repeats_the_data() -> None:
    secret = "97589669Y"
    profile = a_profile(
        "Task", *SLICED, a_binding("required"), {"id": "Task.description", "max": "0"}
    )
    task = a_task(description=secret, code={"text": secret}, identifier=[{"value": secret}])

    found = judged_in_full(task, profiles=[URL], library=a_library(profile, RED_AND_BLUE))

    assert len(found) == 3
    assert secret not in repr(found)


def test_profiles_are_judged_only_once_a_resource_is_r4() -> None:
    library = a_library(a_profile("Task", {"id": "Task.focus", "min": 1}))

    malformed = validated(a_task(status="nonsense"), profiles=[URL], library=library)
    incomplete = validated(a_task(), profiles=[URL], library=library)
    unknown = validated(a_task(), profiles=["urn:unknown"], library=library)

    assert [issue.rule for issue in malformed] == ["required-code", "not-checked"]
    assert [issue.rule for issue in incomplete] == ["profile-cardinality"]
    assert [(i.rule, i.severity) for i in unknown] == [("profile-unknown", "error")]
    assert not is_valid(unknown)
    assert not is_valid(incomplete)


def test_more_profiles_than_a_resource_may_name_are_refused_and_none_is_looked_up() -> None:
    library = a_library(a_profile("Task", {"id": "Task.focus", "min": 1}))
    task = a_task(meta={"profile": [f"{URL}#{number}" for number in range(21)]})
    refusal = [("Task.meta.profile", "profile-count", "too-costly")]

    for found in (
        profile_issues(task, profiles=declared(task), library=library),
        validated(task, library=library),
        validated(a_task(), profiles=declared(task), library=library),
    ):
        assert [(i.place, i.rule, i.code) for i in found] == refusal
        assert not is_valid(found)


def test_a_profile_named_many_times_is_judged_once() -> None:
    library = a_library(a_profile("Task", {"id": "Task.focus", "min": 1}))
    task = a_task(meta={"profile": [URL] * 1000})

    assert declared(task) == (URL,)
    assert [issue.rule for issue in validated(task, library=library)] == ["profile-cardinality"]


def test_a_profile_is_compiled_once_however_its_name_is_spelled() -> None:
    library = a_library(a_profile("Task"))

    spelled = [compiled_profile(f"{URL}{end}", library) for end in ("", "#1", "#2", "|1.0.0")]

    assert spelled[0] is not None
    assert all(profile is spelled[0] for profile in spelled)
    assert compiled_profile("urn:unknown", library) is None


def test_no_more_than_fifty_issues_are_told() -> None:
    library = a_library(a_profile("Task", {"id": "Task.input", "max": "0"}))
    malformed = a_task(**{f"x{number}": number for number in range(200)})
    unknown = [f"urn:unknown-{number}" for number in range(19)]
    entry = {"resource": a_task(meta={"profile": [URL]}, input=[A_NOTE, A_NOTE])}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [entry] * 60}

    assert len(validated(malformed, library=library)) == 50
    assert len(found := validated(bundle, profiles=unknown, library=library)) == 50
    assert not is_valid(found)


A_NOTE = {"type": {"text": "Note"}, "valueString": "Note"}


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("http://hl7.org/fhir/StructureDefinition/Task", []),
        ("http://hl7.org/fhir/StructureDefinition/Task|4.0.1", []),
        ("http://hl7.org/fhir/StructureDefinition/DomainResource", []),
        ("http://hl7.org/fhir/StructureDefinition/Patient", ["profile-type"]),
        ("http://hl7.org/fhir/StructureDefinition/Task|5.0.0", ["profile-unknown"]),
    ],
)
def test_a_type_s_own_definition_is_a_profile_too(profile: str, told: list[str]) -> None:
    task = {"resourceType": "Task", "status": "draft", "intent": "order"}

    issues = validated(task, profiles=[profile], library=EMPTY_LIBRARY)

    assert [issue.rule for issue in issues if issue.severity == "error"] == told
