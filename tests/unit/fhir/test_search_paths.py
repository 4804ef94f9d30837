"""Search expressions compiled: what they lead to is what FHIRPath says."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.search_parameters import PARAMETERS
from fhir_hub_bridge.fhir.search_paths import compile_expression, root

fhirpathpy = pytest.importorskip("fhirpathpy")
MODEL = pytest.importorskip("fhirpathpy.models").models["r4"]

FHIR = Path(__file__).resolve().parents[4] / "shared" / "fhir"
EXAMPLES = [
    path
    for folder in ("sdohcc-3.0.0/examples", "us-core-7.0.0/examples", "bser-2.0.0/examples")
    for path in sorted(FHIR.glob(f"{folder}/*.json"))
    if path.name.split("-")[0] in PARAMETERS
]


def values_of(resource: Json, expression: str) -> list[Any]:
    paths = compile_expression(expression, root(resource["resourceType"]))
    return [value for path in paths for value in path.values(resource)]


@cache
def judge(expression: str) -> Callable[[Json], list[Any]]:
    # fhirpathpy cannot resolve: a reference's text names its type as well.
    spoken = re.sub(
        r"where\(resolve\(\) is (\w+)\)",
        r"where(reference.startsWith('\1/') or reference.contains('/\1/') or type = '\1')",
        expression,
    )
    compiled: Callable[[Json], list[Any]] = fhirpathpy.compile(spoken, MODEL)
    return compiled


def own_part(expression: str, kind: str) -> str:
    """What a shared expression says of one type: the judge takes long to read the rest."""
    parts = [part.strip() for part in expression.split("|")]
    own = (part for part in parts if re.match(rf"\(?({kind}|Resource)\b", part))
    # The judge knows no Resource.
    return " | ".join(own).replace("Resource.", f"{kind}.")


@pytest.mark.skipif(not EXAMPLES, reason="SKIPPED LOUDLY: ../shared/fhir not found")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_expression_leads_where_fhirpath_does(path: Path) -> None:
    resource = parse_json(path.read_bytes())
    kind = resource["resourceType"]
    expressions = {name: own_part(p.expression, kind) for name, p in PARAMETERS[kind].items()}

    for name, expression in expressions.items():
        expected = as_fhirpath_says(resource, expression)
        if expected is not None:
            assert set(map(str, values_of(resource, expression))) == expected, name


def as_fhirpath_says(resource: Json, expression: str) -> set[str] | None:
    """The values by their looks; None where the judge fails, or stops at an extension."""
    if "extension(" in expression:
        return None
    try:
        found = judge(expression)(resource)
    except ValueError:  # it takes `as` for one element only
        return None
    # It also gives the id of a value where JSON has one beside it.
    return {
        str(value) for value in found if not (isinstance(value, dict) and value.keys() == {"id"})
    }


@pytest.mark.parametrize(
    ("expression", "resource", "expected"),
    [
        ("Patient.name.given", {"name": [{"given": ["A", None]}, {"family": "B"}]}, ["A"]),
        ("Patient.telecom.where(system='email')", {"telecom": [{"system": "phone"}]}, []),
        (
            "(Observation.value as CodeableConcept).text",
            {"valueCodeableConcept": {"text": "t"}},
            ["t"],
        ),
        ("Observation.value.ofType(string) | Observation.status", {"valueString": "v"}, ["v"]),
        (
            "Goal.target.due.as(date)",
            {"target": [{"dueDate": "2026"}, {"dueDuration": {}}]},
            ["2026"],
        ),
        ("Task.output.value.ofType(Reference)", {"output": [{"valueReference": {}}]}, [{}]),
        ("Questionnaire.item.item.linkId", {"item": [{"item": [{"linkId": "1.1"}]}]}, ["1.1"]),
        (
            "Device.extension('u')",
            {"extension": [{"url": "u", "valueCode": "c"}, {"url": "x"}]},
            ["c"],
        ),
        (
            "Task.for.where(resolve() is Patient)",
            {"for": {"reference": "https://them.example/Patient/p"}},
            [{"reference": "https://them.example/Patient/p"}],
        ),
        ("Task.for.where(resolve() is Patient)", {"for": {"reference": "Group/g"}}, []),
        (
            "Task.for.where(resolve() is Patient)",
            {"for": {"type": "Patient"}},
            [{"type": "Patient"}],
        ),
        ("Flag.status | Resource.id", {"id": "1", "status": "active"}, ["1"]),
    ],
)
def test_expression_leads_to_its_values(
    expression: str, resource: Json, expected: list[Any]
) -> None:
    kind = re.findall(r"[A-Z]\w+", expression)[0].replace("Flag", "Task")

    assert values_of({"resourceType": kind, **resource}, expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "Task.colour",
        "Task.status.exists()",
        "Task.status != 'draft'",
        "Task.input[0].type",
        "Task.where(hasExtension('u'))",
        "Task.where(status=draft)",
        "(Task.status",
        "Task.",
        "",
    ],
)
def test_words_that_are_not_spoken_are_an_error(expression: str) -> None:
    with pytest.raises(KeyError):
        compile_expression(expression, root("Task"))
