"""References taken apart, compared and rewritten."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.fhir.codec import to_bytes
from fhir_hub_bridge.fhir.reference import (
    Reference,
    local,
    parse_reference,
    rewrite_references,
    unresolved,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Task/t1", Reference(None, "Task", "t1")),
        ("Task/t1/_history/6", Reference(None, "Task", "t1", "6")),
        ("https://ehr.example/fhir/Task/t1", Reference("https://ehr.example/fhir", "Task", "t1")),
        (
            "http://a.example:80/Task/t1/_history/2",
            Reference("http://a.example:80", "Task", "t1", "2"),
        ),
        ("urn:uuid:0f3c", Reference("urn:uuid", "", "0f3c")),
        ("urn:oid:1.2.3", Reference("urn:oid", "", "1.2.3")),
        ("#p1", Reference("#", "", "p1")),
    ],
)
def test_literal_reference_is_taken_apart_and_put_together(text: str, expected: Reference) -> None:
    reference = parse_reference(text)

    assert reference == expected
    assert str(reference) == text
    assert reference is not None
    assert reference.is_local == (expected.base is None)


@pytest.mark.parametrize(
    "text",
    [
        *("Patient?identifier=x", "Patient", "Task/", "Task/t1/", "task/t1", "Task/a b", ""),
        *("Task/..", "Task/.", "ftp://x/Task/1", "https://a@b.example/Task/1", "Task/" + "x" * 65),
    ],
)
def test_what_is_no_literal_reference_is_none(text: str) -> None:
    assert parse_reference(text) is None


def test_our_own_absolute_reference_becomes_local_and_no_other() -> None:
    bases = ["https://us.example/fhir/"]
    ours = parse_reference("https://us.example/fhir/Task/t1/_history/2")
    theirs = parse_reference("https://us.example/fhir2/Task/t1")

    assert ours is not None
    assert theirs is not None
    assert str(local(ours, bases)) == "Task/t1/_history/2"
    assert local(theirs, bases) == theirs


def test_links_are_rewritten_wherever_they_stand_and_the_input_stays() -> None:
    resource = {
        "resourceType": "Task",
        "id": "urn:uuid:1",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:uuid:1"}],
        "text": {"div": '<div><a href="urn:uuid:1">it</a> urn:uuid:1</div>'},
        "contained": [{"resourceType": "Provenance", "target": [{"reference": "urn:uuid:1"}]}],
        "extension": [
            {"url": "https://x.example/e", "valueUri": "urn:uuid:1"},
            {"url": "https://x.example/e", "valueReference": {"reference": "urn:uuid:2"}},
        ],
        "instantiatesCanonical": "urn:uuid:1",
        "focus": {"reference": "urn:uuid:3"},
        "owner": {"reference": "https://x.example/fhir/Organization/1"},
    }
    before = copy.deepcopy(resource)

    rewritten = rewrite_references(
        resource,
        {
            "urn:uuid:1": "Task/t1",
            "urn:uuid:2": "Patient/p1",
            "https://x.example/fhir/Organization/1": "Organization/9",
        },
    )

    assert resource == before
    assert rewritten["id"] == "urn:uuid:1"
    assert rewritten["identifier"] == before["identifier"]
    assert rewritten["text"]["div"] == '<div><a href="Task/t1">it</a> urn:uuid:1</div>'
    assert rewritten["contained"][0]["target"] == [{"reference": "Task/t1"}]
    assert rewritten["extension"][0]["valueUri"] == "Task/t1"
    assert rewritten["extension"][1]["valueReference"] == {"reference": "Patient/p1"}
    assert rewritten["instantiatesCanonical"] == "Task/t1"
    assert rewritten["focus"] == {"reference": "urn:uuid:3"}
    assert rewritten["owner"] == {"reference": "Organization/9"}


def test_references_that_no_entry_answers_to_are_listed_once() -> None:
    resource = {
        "focus": {"reference": "urn:uuid:2"},
        "for": {"reference": "urn:uuid:1"},
        "contained": [{"target": [{"reference": "urn:uuid:2"}, {"reference": "urn:oid:1.2"}]}],
        "owner": {"reference": "Organization/1"},
    }

    assert unresolved(resource, {"urn:uuid:1"}) == ("urn:uuid:2", "urn:oid:1.2")


URNS = st.integers(0, 5).map(lambda n: f"urn:uuid:0000000{n}-0000-4000-8000-000000000000")
MAPPING = {f"urn:uuid:0000000{n}-0000-4000-8000-000000000000": f"Patient/p{n}" for n in range(6)}
TREES = st.recursive(
    st.fixed_dictionaries({"reference": URNS}) | st.fixed_dictionaries({"valueUri": URNS}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["contained", "extension", "part"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"resourceType": st.just("Task"), "extension": TREES}))
def test_no_urn_of_the_bundle_is_left_after_rewriting(resource: dict[str, Any]) -> None:
    rewritten = rewrite_references(resource, MAPPING)

    assert b"urn:uuid" not in to_bytes(rewritten)
    assert unresolved(rewritten, ()) == ()
    assert unresolved(resource, MAPPING) == ()
