"""Errors in FHIR's words."""

from __future__ import annotations

import pytest

from fhir_hub_bridge import errors
from fhir_hub_bridge.errors import BridgeError, Issue, ResourceRejected, RuleBroken
from fhir_hub_bridge.fhir.canonical import BASE
from fhir_hub_bridge.fhir.outcome import operation_outcome, outcome_of, status_of
from fhir_hub_bridge.fhir.validation import issues_of


def test_issue_with_a_fhirpath_place_has_it_as_expression() -> None:
    issue = Issue("Task.input[0].value", "No.", code="value", rule="element-type", value="secret")

    outcome = operation_outcome([issue])

    assert outcome == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "value",
                "details": {
                    "coding": [{"system": f"{BASE}/CodeSystem/rule", "code": "element-type"}],
                    "text": "No.",
                },
                "expression": ["Task.input[0].value"],
            }
        ],
    }


def test_any_other_place_is_told_in_diagnostics() -> None:
    (entry,) = operation_outcome([Issue("line 3, column 1", "No.")], severity="warning")["issue"]

    assert entry["diagnostics"] == "line 3, column 1"
    assert entry["severity"] == "warning"
    assert "expression" not in entry


def test_nothing_wrong_is_said_so() -> None:
    (entry,) = operation_outcome([])["issue"]

    assert (entry["severity"], entry["code"]) == ("information", "informational")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ResourceRejected(issues=[Issue("", "x", code="structure")]), 400, "structure"),
        (ResourceRejected(issues=[Issue("", "x", "structure", "body-size")]), 413, "structure"),
        (
            ResourceRejected(issues=[Issue("status", "x", "value", "search-parameter")]),
            400,
            "value",
        ),
        (ResourceRejected(issues=[Issue("Task.status", "x", code="value")]), 422, "value"),
        (ResourceRejected("no"), 422, "invalid"),
        (RuleBroken("r", "no"), 422, "business-rule"),
        (errors.ConditionFailed(), 412, "multiple-matches"),
        (errors.UnmappedCode(), 422, "code-invalid"),
        (errors.VersionConflict(), 412, "conflict"),
        (errors.Conflict(), 409, "conflict"),
        (errors.AlreadyAnswered(), 409, "duplicate"),
        (errors.Unknown(), 404, "not-found"),
        (errors.Gone(), 410, "deleted"),
        (errors.StoreBusy(), 503, "transient"),
        (errors.PartnerTrouble(), 502, "processing"),
        (errors.BadMapping(), 500, "exception"),
        (BridgeError(), 500, "exception"),
    ],
)
def test_error_answers_with_its_status_and_code(error: BridgeError, status: int, code: str) -> None:
    (entry,) = outcome_of(error)["issue"]

    assert status_of(error) == status
    assert entry["code"] == code
    assert entry["details"]["text"] == (str(error))


def test_error_class_without_a_line_answers_as_its_family() -> None:
    class BornLater(errors.Unknown):
        """Later."""

    assert status_of(BornLater()) == 404


def test_outcomes_that_we_write_are_fhir() -> None:
    outcome = operation_outcome([Issue("Task.status", "No.", rule="x"), Issue("row 3", "No.")])

    # OperationOutcome is not stored, so it is judged inside a Bundle.
    assert not issues_of(
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": outcome}]}
    )
