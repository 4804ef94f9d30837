"""The guides' own examples keep the profiles that they name, read where they lie.

Without them these tests skip, loudly.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.profile_builders import SHARED, shared_library

from fhir_hub_bridge.fhir.packages import Library
from fhir_hub_bridge.fhir.profiles import declared, judged_in_full
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES

# Made-up NPIs of BSeR's examples have a wrong check digit; with a right one they are clean, and so
# are the Bundles in which another resource must keep its profile.
WRONG_NPIS = {"9941339108": "9941339100", "9941339888": "9941339886"}
KNOWN_ISSUES = {
    "Practitioner-practitioner-us-core-practitioner-hailey-eight.json": {"us-core-17"},
    "Practitioner-practitioner-us-core-practitioner-henry-seven.json": {"us-core-17"},
    **{
        f"Bundle-bundle-bser-{name}-bundle-eve-everywoman.json": {
            "us-core-17",
            "profile-target",
            "profile-slice",
        }
        for name in ("referral-feedback-document", "referral-message", "referral-request-document")
    },
}

EXAMPLES = [
    path
    for path in sorted(SHARED.glob("**/examples/*.json"))
    if path.name.split("-")[0] in SUPPORTED_TYPES
]
needs_examples = pytest.mark.skipif(not EXAMPLES, reason="SKIPPED LOUDLY: ../shared/fhir not found")


@pytest.fixture(scope="module")
def library() -> Library:
    return shared_library()


@needs_examples
def test_most_profiles_that_the_examples_name_are_held(library: Library) -> None:
    named = {p for path in EXAMPLES for p in declared(json.loads(path.read_bytes()))}

    held = {profile for profile in named if library.resolve(profile)}

    assert len(held) >= 25
    assert len(held) > len(named) / 2


@needs_examples
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_keeps_the_profiles_that_it_names(path: Path, library: Library) -> None:
    assert rules_broken(path.read_text(), library) == KNOWN_ISSUES.get(path.name, set())


@needs_examples
@pytest.mark.parametrize("name", KNOWN_ISSUES)
def test_what_is_known_to_be_wrong_is_all_that_is_wrong(name: str, library: Library) -> None:
    (text,) = (path.read_text() for path in EXAMPLES if path.name == name)
    for wrong, right in WRONG_NPIS.items():
        text = text.replace(wrong, right)

    assert rules_broken(text, library) == set()


def rules_broken(text: str, library: Library) -> set[str]:
    resource = json.loads(text)
    issues = judged_in_full(resource, profiles=declared(resource), library=library)
    return {issue.rule for issue in issues if issue.severity == "error"}
