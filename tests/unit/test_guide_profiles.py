"""The guide's profiles and extensions, and the examples that show them.

The few rules that can be judged by counting are judged here: cardinality, fixed and pattern values,
and bindings to our own value sets, outside slices.
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

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.fhir.typed import to_typed
from fhir_hub_bridge.fhir.validation import issues_of

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


def faults(resource: Json, profile: str) -> list[str]:
    """The elements of a profile whose rules the resource breaks."""
    return [
        element["id"]
        for element in definition(profile)["differential"]["element"]
        if ":" not in element["id"] and "." in element["path"]
        for values in instances(resource, element["path"].split(".")[1:])
        if not keeps(values, element)
    ]


def instances(parent: Json, steps: list[str]) -> Iterator[list[Any]]:
    """The values of an element, once for each of its parents that is there."""
    values = [
        value
        for name, found in parent.items()
        if name == steps[0] or (steps[0].endswith("[x]") and name.startswith(steps[0][:-3]))
        for value in (found if isinstance(found, list) else [found])
    ]
    if len(steps) == 1:
        yield values
        return
    for value in values:
        if isinstance(value, dict):
            yield from instances(value, steps[1:])


def keeps(values: list[Any], element: Json) -> bool:
    """Whether these values keep the rules of this element."""
    most = element.get("max", "*")
    if len(values) < element.get("min", 0) or (most != "*" and len(values) > int(most)):
        return False
    return all(
        is_fixed(value, element) and has_pattern(value, element) and is_bound(value, element)
        for value in values
    )


def is_fixed(value: Any, element: Json) -> bool:
    return all(value == v for k, v in element.items() if k.startswith("fixed"))


def has_pattern(value: Any, element: Json) -> bool:
    pattern = element.get("patternCodeableConcept", {"coding": []})
    return all(
        any(wanted.items() <= coding.items() for coding in value["coding"])
        for wanted in pattern["coding"]
    )


def is_bound(value: Any, element: Json) -> bool:
    binding = element.get("binding", {})
    url = binding.get("valueSet", "")
    if binding.get("strength") != "required" or not url.startswith(canonical.BASE):
        return True
    path = PROFILES / f"CodeSystem-{url.rsplit('/', 1)[1]}.json"
    system = json.loads(path.read_text())
    codes = {concept["code"] for concept in system["concept"]}
    return any(c["system"] == system["url"] and c["code"] in codes for c in value["coding"])


@pytest.mark.parametrize("example", SHOWN, ids=lambda e: e.resource["id"])
def test_every_example_is_fhir_valid_and_invalid_ones_alike(example: Example) -> None:
    to_typed(example.resource)

    assert issues_of(example.resource) == []


@pytest.mark.parametrize("example", SHOWN, ids=lambda e: e.resource["id"])
def test_a_valid_example_keeps_its_profile_and_an_invalid_one_breaks_what_it_says(
    example: Example,
) -> None:
    assert faults(example.resource, example.profile) == ([example.fault] if example.fault else [])


def test_every_profile_has_one_valid_and_one_invalid_example() -> None:
    profiles = {d["id"] for d in definitions() if d["kind"] == "resource"}

    shown = sorted((example.profile, bool(example.fault)) for example in SHOWN)

    assert shown == sorted((profile, bad) for profile in profiles for bad in (False, True))


def test_every_example_names_its_profile() -> None:
    for example in SHOWN:
        assert example.resource["meta"]["profile"] == [definition(example.profile)["url"]]


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
