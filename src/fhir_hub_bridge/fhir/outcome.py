"""Errors in FHIR's words: issues become an OperationOutcome, an error class an HTTP status.

The one such table of the house; errors themselves know no HTTP. After: the API's doors.
https://hl7.org/fhir/R4/operationoutcome.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fhir_hub_bridge import errors
from fhir_hub_bridge.errors import BridgeError, Issue, Rejected, ResourceRejected, Severity
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json

# error class -> (HTTP status, IssueType code). The nearest class upward counts, so a new error
# is answered as its family is until it has a line of its own.
ANSWERS: Final[dict[type[BridgeError], tuple[int, str]]] = {
    errors.Rejected: (422, "processing"),
    errors.ResourceRejected: (422, "invalid"),
    errors.RuleBroken: (422, "business-rule"),
    errors.ConditionFailed: (412, "multiple-matches"),
    errors.UnmappedCode: (422, "code-invalid"),
    errors.Conflict: (409, "conflict"),
    errors.VersionConflict: (412, "conflict"),
    errors.AlreadyAnswered: (409, "duplicate"),
    errors.Unknown: (404, "not-found"),
    errors.Gone: (410, "deleted"),
    errors.StoreBusy: (503, "transient"),
    errors.OutcomeUnknown: (503, "transient"),
    errors.PartnerTrouble: (502, "processing"),
    errors.BridgeError: (500, "exception"),
}

# A ResourceRejected answers by its first issue: a body or request that cannot be read is 400,
# one that was read and is not allowed is 422.
STATUS_BY_RULE: Final = {
    "body-size": 413,
    "bundle-size": 413,
    "id-differs": 400,  # https://hl7.org/fhir/R4/http.html#update
    "search-parameter": 400,
}


def operation_outcome(issues: Sequence[Issue], *, severity: Severity = "error") -> Json:
    """Write issues as an OperationOutcome; without any, as one that says nothing was found.

    `severity` is that of the issues that bring none of their own.
    A place in FHIRPath becomes `expression`, any other place `diagnostics`. `Issue.value` stays
    out: outcomes end in logs.
    """
    if not issues:
        issues = [Issue("", "No issues found.", code="informational")]
        severity = "information"
    entries = [_entry(issue, severity) for issue in issues]
    return {"resourceType": "OperationOutcome", "issue": entries}


def outcome_of(error: BridgeError) -> Json:
    """Write any error of ours as an OperationOutcome."""
    issues = error.issues if isinstance(error, Rejected) else ()
    return operation_outcome(issues or [Issue("", str(error), code=_answer(error)[1])])


def status_of(error: BridgeError) -> int:
    """Tell the HTTP status that answers an error."""
    if isinstance(error, ResourceRejected) and error.issues:
        first = error.issues[0]
        by_code = 400 if first.code == "structure" else 422
        return STATUS_BY_RULE.get(first.rule, by_code)
    return _answer(error)[0]


_FHIRPATH: Final = re.compile(r"[A-Z$][A-Za-z]*(\[\d+\])*(\.[A-Za-z_?][A-Za-z0-9_]*(\[\d+\])*)*")


def _entry(issue: Issue, severity: Severity) -> Json:
    details: Json = {}
    if issue.rule:
        details["coding"] = [{"system": canonical.RULE, "code": issue.rule}]
    details["text"] = issue.message
    if issue.severity != "error":
        severity = issue.severity
    entry: Json = {"severity": severity, "code": issue.code, "details": details}
    if _FHIRPATH.fullmatch(issue.place):
        entry["expression"] = [issue.place]
    elif issue.place:
        entry["diagnostics"] = issue.place
    return entry


def _answer(error: BridgeError) -> tuple[int, str]:
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)
