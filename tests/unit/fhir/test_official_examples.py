"""The guides' own examples parse, survive a round trip and are found valid.

They are read where they lie, beside the project; without them these tests skip, loudly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_hub_bridge.fhir.codec import parse_json, to_bytes
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.search import index_values
from fhir_hub_bridge.fhir.typed import from_typed, to_typed
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES, issues_of

FHIR = Path(__file__).resolve().parents[4] / "shared" / "fhir"
# Examples that are not valid R4: the place and the rule that they break.
KNOWN_EXCEPTIONS = {
    # A section with nothing but a title, a code and a focus.
    "Composition-composition-bser-referral-feedback-arthritis-everywoman.json": [
        ("Composition.section[0]", "cmp-1")
    ],
    "Bundle-bundle-bser-referral-feedback-document-bundle-eve-everywoman.json": [
        ("Bundle.entry[0].resource.section[0]", "cmp-1")
    ],
}

ALL_EXAMPLES = sorted(
    [*FHIR.glob("**/examples/*.json"), *FHIR.glob("sdohcc-2.3.0-rendered/*.json")]
)
EXAMPLES = [path for path in ALL_EXAMPLES if path.name.split("-")[0] in SUPPORTED_TYPES]
needs_examples = pytest.mark.skipif(not EXAMPLES, reason="SKIPPED LOUDLY: ../shared/fhir not found")


def a_name(path: Path) -> str:
    return f"{path.relative_to(FHIR)}"


def with_texts_of_numbers(data: bytes) -> Any:
    return json.loads(data, parse_float=lambda text: ("decimal", text), parse_int=str)


@needs_examples
def test_examples_of_most_supported_types_are_there() -> None:
    kinds = {path.name.split("-")[0] for path in EXAMPLES}

    assert len(EXAMPLES) >= 50
    assert kinds >= {"Patient", "Organization", "ServiceRequest", "Task", "Consent", "Bundle"}


@needs_examples
@pytest.mark.parametrize("path", EXAMPLES, ids=a_name)
def test_official_example_survives_the_round_trip(path: Path) -> None:
    data = path.read_bytes()

    written = to_bytes(parse_json(data))

    assert with_texts_of_numbers(written) == with_texts_of_numbers(data)
    assert to_bytes(parse_json(written)) == written


@needs_examples
@pytest.mark.parametrize("path", ALL_EXAMPLES, ids=a_name)
def test_official_example_is_valid(path: Path) -> None:
    resource = parse_json(path.read_bytes())

    issues = issues_of(resource, types=resource_types())

    assert [(issue.place, issue.rule) for issue in issues] == KNOWN_EXCEPTIONS.get(path.name, [])


@needs_examples
@pytest.mark.parametrize("path", EXAMPLES, ids=a_name)
def test_official_example_can_be_indexed(path: Path) -> None:
    index_values(parse_json(path.read_bytes()))


@needs_examples
@pytest.mark.parametrize(
    "path", [path for path in EXAMPLES if path.name.startswith(("Task", "ServiceR"))], ids=a_name
)
def test_official_example_stays_valid_in_its_typed_form(path: Path) -> None:
    resource = parse_json(path.read_bytes())

    back = from_typed(to_typed(resource))

    assert back.keys() == resource.keys()
    assert issues_of(back) == []
