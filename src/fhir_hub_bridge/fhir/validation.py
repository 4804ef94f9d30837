"""Is a resource FHIR R4? Judged by the standard's own definitions; messages never repeat the data.

A compiled schema says what it can, `inspection` the rest. Before: `codec`. After: `intake`.
https://hl7.org/fhir/R4/validation.html
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.findings import issue
from fhir_hub_bridge.fhir.inspection import findings_of

SUPPORTED_TYPES: Final = frozenset(
    {
        "AuditEvent",
        "Bundle",
        "CareTeam",
        "ClaimResponse",
        "Communication",
        "CommunicationRequest",
        "Condition",
        "Consent",
        "Coverage",
        "Device",
        "DocumentReference",
        "Endpoint",
        "EpisodeOfCare",
        "Goal",
        "Group",
        "HealthcareService",
        "Location",
        "Observation",
        "Organization",
        "Patient",
        "Practitioner",
        "PractitionerRole",
        "Procedure",
        "Provenance",
        "Questionnaire",
        "QuestionnaireResponse",
        "RelatedPerson",
        "ServiceRequest",
        "Task",
    }
)
"""The types that referrals are told in: those of SDOHCC's CoordinationPlatform and our own."""

MAX_ISSUES: Final = 50


def issues_of(resource: Json, *, types: Collection[str] = SUPPORTED_TYPES) -> list[Issue]:
    """List what keeps a resource of one of some types from being FHIR R4; empty if nothing does.

    Every resource inside it, of whatever R4 type, is judged too. At most 50 issues, each at a
    FHIRPath expression. No message repeats a value of the resource.
    """
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in types:
        message = f"The resourceType must be one of {', '.join(sorted(types))}."
        return [Issue("", message, code="not-supported", rule="resource-type")]
    try:
        findings = findings_of(resource)
    except RecursionError:
        # No body that `codec` has read is as deep.
        message = "The resource is nested too deep."
        return [Issue("", message, code="structure", rule="json-depth")]
    return [*dict.fromkeys(issue(finding, kind) for finding in findings)][:MAX_ISSUES]
