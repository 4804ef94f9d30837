"""Our closures say what fhirpathpy says, and compare dates by the moments that they mean."""

from __future__ import annotations

from typing import Any

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from fhir_hub_bridge.fhir.fhirpath import invariant

Json = dict[str, Any]

OBSERVATION: Json = {
    "resourceType": "Observation",
    "status": "final",
    "category": [
        {"coding": [{"system": "urn:a", "code": "x"}, {"system": "urn:b", "code": "y"}]},
        {"text": "z"},
    ],
    "code": {"coding": [{"system": "urn:a", "code": "c"}], "text": "Some text"},
    "valueQuantity": {"value": 3, "system": "http://unitsofmeasure.org", "code": "kg"},
    "component": [{"code": {"text": "one"}, "valueInteger": 1}, {"code": {"text": "two"}}],
    "extension": [{"url": "urn:e", "valueString": "v"}],
    "contained": [{"resourceType": "Patient", "id": "p"}],
}

EXPRESSIONS = (
    "status.exists()",
    "note.exists()",
    "note.empty()",
    "note.exists().not()",
    "status = 'final'",
    "status != 'final'",
    "note.text = 'x'",
    "status = 'final' and note.exists()",
    "note.text = 'x' and status = 'draft'",
    "note.text = 'x' or status = 'final'",
    "note.text = 'x' xor status = 'final'",
    "status = 'final' implies note.exists()",
    "status = 'draft' implies note.exists()",
    "note.text = 'x' implies status = 'final'",
    "note.text = 'x' implies status = 'draft'",
    "status in ('final' | 'draft')",
    "('final' | 'draft') contains status",
    "category.coding.where(system = 'urn:a' and code = 'x').exists()",
    "category.coding.exists(system = 'urn:b')",
    "category.all(coding.exists())",
    "category.coding.all(code.exists())",
    "category.coding.count() = 2",
    "category.coding.code.isDistinct()",
    "category.coding.system.distinct().count() = 2",
    "category.coding.first().code = 'x'",
    "category.coding.last().code = 'y'",
    "category[0].coding[1].code = 'y'",
    "category.select(text).exists()",
    "value.exists()",
    "value.ofType(Quantity).code = 'kg'",
    "value.ofType(string).exists()",
    "(value as Quantity).value > 2",
    "value is Quantity",
    "value is string",
    "contained.first().is(Patient)",
    "contained.ofType(Patient).id = 'p'",
    "extension('urn:e').value = 'v'",
    "extension.where(url = 'urn:e').value.exists()",
    "extension('urn:none').exists()",
    "code.text.startsWith('Some')",
    "code.text.endsWith('Some')",
    "code.text.contains('me t')",
    "code.text.matches('^S[a-z]+ text$')",
    "code.text.length() = 9",
    "code.text.substring(5) = 'text'",
    "code.text.substring(0, 4).upper() = 'SOME'",
    "'12'.toInteger() + 1 = 13",
    "7 mod 4 = 3",
    "7 div 2 * 2 = 6",
    "'a' & 'b' = 'ab'",
    "iif(note.exists(), 1, 2) = 2",
    "(category.coding.code | category.text).count() = 3",
    "component.value = 1",
    "value.value >= 3",
    "value.value < 3",
    "Observation.status = 'final'",
    "code ~ code",
    "component.select(value.exists()).allTrue()",
    "%resource.status = 'final'",
)


def ours(expression: str, resource: Json = OBSERVATION) -> bool:
    compiled = invariant(expression)
    assert compiled.truth is not None, compiled.not_checked
    assert "_interpreted" not in compiled.truth.__qualname__
    return compiled.holds(resource, kind=str(resource["resourceType"]), resource=resource)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_compiled_expression_says_what_fhirpathpy_says(expression: str) -> None:
    theirs = evaluate(OBSERVATION, expression, {"resource": OBSERVATION}, models["r4"])

    # Where FHIRPath says neither, an invariant holds.
    assert ours(expression) == (theirs != [False])


def a_task(authored: str, modified: str) -> Json:
    return {"resourceType": "Task", "authoredOn": authored, "lastModified": modified}


@pytest.mark.parametrize(
    ("authored", "modified", "holds"),
    [
        ("2026-05-04T10:11:12-05:00", "2026-05-04T11:00:00Z", False),
        ("2026-05-04T10:11:12-05:00", "2026-05-04T16:00:00Z", True),
        ("2026-05-04T10:00:00Z", "2026-05-04T05:00:00-05:00", True),
        ("2026-05", "2026-05-04", True),  # nobody knows
        ("2026-06", "2026-05-04", False),
    ],
)
def test_dates_are_compared_by_the_moments_that_they_mean(
    authored: str, modified: str, holds: bool
) -> None:
    task = a_task(authored, modified)

    assert ours("lastModified >= authoredOn", task) is holds
    assert ours("authoredOn <= lastModified", task) is holds


def test_equal_moments_are_equal_in_any_zone() -> None:
    task = a_task("2026-05-04T10:00:00Z", "2026-05-04T05:00:00-05:00")

    assert ours("authoredOn = lastModified", task)
    assert not ours("authoredOn != lastModified", task)


def test_an_npi_is_judged_by_us_core_s_own_expression() -> None:
    digit = (
        "select(value.substring({0},1).toInteger()).select(iif($this<5, $this*2, (($this*2)-9)))"
    )
    doubled = "+".join(f"({digit.format(place)})" for place in (0, 2, 4, 6, 8))
    plain = "+".join(f"(value.substring({place},1).toInteger())" for place in (1, 3, 5, 7, 9))
    luhn = invariant(f"({doubled}+{plain}+24) mod 10 = 0")

    assert luhn.holds({"value": "1234567893"}, kind="Identifier", resource={})
    assert not luhn.holds({"value": "1234567894"}, kind="Identifier", resource={})


def test_has_value_tells_a_value_from_an_element_without_one() -> None:
    assert ours("status.hasValue()")
    assert not ours("code.hasValue()")
    assert not ours("note.hasValue()")


def test_what_is_seldom_used_is_left_to_fhirpathpy() -> None:
    unusual = invariant("descendants().where($this is string).exists()")

    assert unusual.truth is not None
    assert unusual.holds(OBSERVATION, kind="Observation", resource=OBSERVATION)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("subject.resolve().exists()", "resolve() is not supported"),
        ("code.memberOf('urn:x')", "memberOf() is not supported"),
        ("text.htmlChecks()", "htmlChecks() is not supported"),
        ("nonsense().exists()", "nonsense() is not supported"),
        ("effective < now()", "now() is not supported"),
        ("exists(", "the expression cannot be parsed"),
        ("status = 'a' status", "the expression cannot be parsed"),
        ("§", "the expression cannot be parsed"),
        ("descendants().date < issued", "it compares what may be dates in an unusual way"),
    ],
)
def test_what_cannot_be_judged_says_why_and_holds(expression: str, why: str) -> None:
    compiled = invariant(expression)

    assert compiled.not_checked == why
    assert compiled.holds({}, kind="Observation", resource={})


@pytest.mark.parametrize(
    "expression",
    ["code.where($this is CodeableConcept).exists()", "value.exists(ofType(Quantity).exists())"],
)
def test_the_type_of_a_value_on_the_way_is_left_to_fhirpathpy(expression: str) -> None:
    compiled = invariant(expression)

    assert compiled.truth is not None
    assert compiled.holds(OBSERVATION, kind="Observation", resource=OBSERVATION)


def test_an_expression_that_stumbles_over_its_values_holds() -> None:
    assert ours("status + 1 = 2")
    assert ours("status.matches('(')")
