"""Parts of resources: what a summary keeps."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import structure
from fhir_hub_bridge.fhir.summary import SUBSETTED, summarised

TASK: Json = {
    "resourceType": "Task",
    "id": "t1",
    "meta": {"versionId": "1", "tag": [{"system": "https://t", "code": "late"}]},
    "text": {"status": "generated", "div": "<div/>"},
    "modifierExtension": [{"url": "https://x", "valueBoolean": True}],
    "identifier": [{"value": "R-1"}],
    "status": "accepted",
    "_status": {"id": "s"},
    "intent": "order",
    "focus": {"reference": "ServiceRequest/s"},
    "note": [{"text": "n"}],
    "input": [{"type": {"text": "x"}, "valueString": "y"}],
}


def names_of(part: Json) -> set[str]:
    assert dict(SUBSETTED) in part["meta"]["tag"]
    return set(part) - {"resourceType", "id", "meta"}


def test_summary_has_what_the_standard_marks() -> None:
    part = summarised(TASK, "true")

    assert names_of(part) == {"modifierExtension", "status", "_status", "intent", "focus"}
    assert part["meta"]["tag"] == [{"system": "https://t", "code": "late"}, SUBSETTED]


def test_summary_goes_into_what_a_resource_defines_itself() -> None:
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "A"}],
        "contact": [{"name": {"family": "B"}}],
        "link": [{"other": {"reference": "Patient/o"}, "type": "seealso", "id": "1"}],
    }

    part = summarised(patient, "true")

    assert names_of(part) == {"name", "link"}
    assert part["link"] == [{"other": {"reference": "Patient/o"}, "type": "seealso"}]


def test_summary_of_a_choice_goes_by_its_type() -> None:
    observation = {"resourceType": "Observation", "valueString": "v", "note": [{"text": "n"}]}

    assert names_of(summarised(observation, "true")) == {"valueString"}


@pytest.mark.parametrize(
    ("summary", "elements", "expected"),
    [
        ("text", (), {"text", "modifierExtension", "status", "_status", "intent"}),
        ("data", (), set(TASK) - {"resourceType", "id", "meta", "text"}),
        (
            "",
            ("focus", "note"),
            {"modifierExtension", "status", "_status", "intent", "focus", "note"},
        ),
        ("false", ("colour",), {"modifierExtension", "status", "_status", "intent"}),
    ],
)
def test_part_has_what_was_asked_and_cannot_be_missed(
    summary: str, elements: tuple[str, ...], expected: set[str]
) -> None:
    before = deepcopy(TASK)

    part = summarised(TASK, summary, elements)

    assert names_of(part) == expected
    assert before == TASK


@pytest.mark.parametrize("summary", ["", "false", "count"])
def test_without_a_part_asked_for_nothing_is_left_out(summary: str) -> None:
    assert summarised(TASK, summary) == TASK


def test_part_of_a_part_is_tagged_once() -> None:
    part = summarised(summarised(TASK, "data"), "true")

    assert part["meta"]["tag"].count(SUBSETTED) == 1


@pytest.mark.parametrize("kind", ["Task", "Patient", "Questionnaire", "Consent", "Observation"])
def test_mandatory_elements_are_always_there(kind: str) -> None:
    mandatory = {e.name for e in structure(kind).children() if e.min and not e.is_choice}
    resource: dict[str, Any] = {"resourceType": kind, **dict.fromkeys(mandatory, "x")}

    assert mandatory <= set(summarised(resource, "text"))
