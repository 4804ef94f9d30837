"""The guide's profiles and extensions, and the examples that show them, judged by our validator.

What is valid by ours is valid by SDOH Clinical Care 3.0.0: judged by its definitions where they
lie, beside the project; without them these tests skip, loudly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from profiles.story import Example, examples
from tests import builders
from tests.profile_builders import SHARED, shared_library
from tests.unit.test_guide import emitted

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.packages import Library
from fhir_hub_bridge.fhir.profiles import declared, profile_issues
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.fhir.typed import to_typed
from fhir_hub_bridge.fhir.validation import issues_of
from fhir_hub_bridge.wiring import own_guide

PROFILES = Path(__file__).parents[2] / "profiles"
SHOWN = examples(builders.a_rulebook())
EXTENSIONS = {
    "authorization-basis",
    "authorization-reason",
    "clr-status-date",
    "hcpcs-modifier",
    "population-of-focus",
    "referral-source",
    "notice-content",
}


@cache
def definition(id_: str) -> Json:
    """A StructureDefinition of the guide."""
    found: Json = json.loads((PROFILES / f"StructureDefinition-{id_}.json").read_text())
    return found


def definitions() -> list[Json]:
    """All StructureDefinitions of the guide."""
    return [json.loads(p.read_text()) for p in PROFILES.glob("StructureDefinition-*.json")]


def stored_examples() -> dict[str, Json]:
    """The examples by `Type/id`."""
    found = [json.loads(path.read_text()) for path in (PROFILES / "examples").glob("*.json")]
    return {f"{r['resourceType']}/{r['id']}": r for r in found}


def faults(resource: Json, profile: str, library: Library | None = None) -> list[str]:
    """The places where a resource breaks a profile."""
    found = profile_issues(resource, profiles=[profile], library=library or own_library())
    return [issue.place for issue in found]


@cache
def own_library() -> Library:
    """A library of our guide alone."""
    return Library(lambda: [own_guide()])


@pytest.mark.parametrize("example", SHOWN, ids=lambda e: e.resource["id"])
def test_every_example_is_fhir_valid_and_invalid_ones_alike(example: Example) -> None:
    to_typed(example.resource)

    assert issues_of(example.resource) == []


@pytest.mark.parametrize("example", SHOWN, ids=lambda e: e.resource["id"])
def test_a_valid_example_keeps_its_profile_and_an_invalid_one_breaks_what_it_says(
    example: Example,
) -> None:
    (profile,) = declared(example.resource)

    assert faults(example.resource, profile) == ([example.fault] if example.fault else [])


SDOHCC = f"{canonical.SDOHCC}/StructureDefinition"
COUNTERPARTS = {
    "clr-referral-task": f"{SDOHCC}/SDOHCC-TaskForReferralManagement",
    "clr-servicerequest": f"{SDOHCC}/SDOHCC-ServiceRequest",
}
needs_guides = pytest.mark.skipif(
    not SHARED.is_dir(), reason="SKIPPED LOUDLY: ../shared/fhir not found"
)


def variations(resource: Json) -> Iterator[Json]:
    """A resource, and the same with one part less or with another value, at any depth."""
    yield resource
    yield from (changed for key in resource for changed in _without_or_within(resource, key))


def _without_or_within(parent: Json, key: str) -> Iterator[Json]:
    if key in ("resourceType", "id", "meta"):
        return
    yield {k: v for k, v in parent.items() if k != key}
    value = parent[key]
    if isinstance(value, dict):
        yield from ({**parent, key: changed} for changed in variations(value) if changed != value)
    elif isinstance(value, list):
        yield {**parent, key: [*value, *value]}
        for index, item in enumerate(value):
            if isinstance(item, dict):
                for changed in variations(item):
                    yield {**parent, key: [*value[:index], changed, *value[index + 1 :]]}
    elif isinstance(value, str):
        yield {**parent, key: "Patient/x" if key == "reference" else "accepted"}


@needs_guides
@pytest.mark.parametrize("profile", COUNTERPARTS)
def test_what_is_valid_by_ours_is_valid_by_sdoh_clinical_care(profile: str) -> None:
    ours = f"{canonical.BASE}/StructureDefinition/{profile}"
    valid = refused = 0

    for example in stored_examples().values():
        if example["resourceType"] != definition(profile)["type"]:
            continue
        for changed in variations(example):
            if issues_of(changed) or faults(changed, ours, shared_library()):
                refused += 1
            else:
                valid += 1
                assert faults(changed, COUNTERPARTS[profile], shared_library()) == []

    assert valid > 50
    assert refused > 50


@needs_guides
def test_the_bridge_s_own_examples_keep_our_profiles_with_all_guides_loaded() -> None:
    for example in SHOWN:
        (profile,) = declared(example.resource)

        found = faults(example.resource, profile, shared_library())

        assert found == ([example.fault] if example.fault else [])


def test_every_profile_has_one_valid_and_one_invalid_example() -> None:
    profiles = {d["id"] for d in definitions() if d["kind"] == "resource"}

    shown = sorted((example.profile, bool(example.fault)) for example in SHOWN)

    assert shown == sorted((profile, bad) for profile in profiles for bad in (False, True))


def test_every_example_names_its_profile() -> None:
    for example in SHOWN:
        assert example.resource["meta"]["profile"] == [definition(example.profile)["url"]]


WRITTEN = {
    "Task": "clr-referral-task",
    "ServiceRequest": "clr-servicerequest",
    "ClaimResponse": "clr-claim-response",
}


def test_what_the_translator_writes_keeps_our_profiles() -> None:
    written = [resource for resource in emitted() if resource["resourceType"] in WRITTEN]

    found = [
        (resource["resourceType"], fault)
        for resource in written
        for fault in faults(
            resource, f"{canonical.BASE}/StructureDefinition/{WRITTEN[resource['resourceType']]}"
        )
    ]

    assert len(written) > 100
    assert found == []


def test_references_among_the_examples_resolve() -> None:
    stored = stored_examples()

    for resource in stored.values():
        for text in references(resource):
            found = parse_reference(text)

            assert found is not None
            assert f"{found.type}/{found.id}" in stored


def references(value: Any) -> Iterator[str]:
    """Every reference within."""
    if isinstance(value, dict) and isinstance(value.get("reference"), str):
        yield value["reference"]
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from references(child)


def test_all_other_examples_are_fhir_too() -> None:
    for resource in stored_examples().values():
        assert issues_of(resource) == []


def test_the_extensions_are_those_that_have_a_name() -> None:
    found = {d["id"] for d in definitions() if d["type"] == "Extension"}
    named = {
        value.rsplit("/", 1)[1]
        for name, value in vars(canonical).items()
        if name.endswith("_EXTENSION")
    }

    assert found == named == EXTENSIONS


@pytest.mark.parametrize("id_", sorted(EXTENSIONS))
def test_an_extension_fixes_its_url(id_: str) -> None:
    elements = {e["id"]: e for e in definition(id_)["differential"]["element"]}

    assert elements["Extension.url"]["fixedUri"] == definition(id_)["url"]


def test_a_notice_says_only_what_its_extension_defines() -> None:
    slices = {
        element["sliceName"]
        for element in definition("notice-content")["differential"]["element"]
        if "sliceName" in element
    }
    notice = next(e.resource for e in SHOWN if e.profile == "clr-notice")
    (content,) = notice["extension"]

    assert {fact["url"] for fact in content["extension"]} <= slices


def test_definitions_are_differentials_on_base_r4_in_good_order() -> None:
    for found in definitions():
        elements = found["differential"]["element"]
        ids = [element["id"] for element in elements]

        assert found["fhirVersion"] == "4.0.1"
        assert found["baseDefinition"] == (
            f"http://hl7.org/fhir/StructureDefinition/{found['type']}"
        )
        assert "snapshot" not in found
        assert len(set(ids)) == len(ids)
        for element in elements:
            steps = [step.split(":")[0] for step in element["id"].split(".")]
            assert element["path"] == ".".join(steps)
            assert steps[0] == found["type"]
