"""The plan's authorization decision as FHIR: a ClaimResponse and the Task outputs that show it.

A base ClaimResponse, not the PAS profile, which needs a Claim and licensed X12 texts.
"""

from __future__ import annotations

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.mapping.codings import concept, output_type
from fhir_hub_bridge.mapping.parties_to_fhir import reference_to
from fhir_hub_bridge.referral.model import Decide, Referral
from fhir_hub_bridge.referral.rulebook import AuthorizationStatus


def claim_response(
    id_: str,
    decide: Decide,
    *,
    referral: Referral,
    row: AuthorizationStatus,
    patient: str,
) -> Json:
    """The ClaimResponse of a decision that did not come with one (command line, file)."""
    extensions: list[Json] = [
        {"url": canonical.AUTHORIZATION_BASIS_EXTENSION, "valueCode": decide.basis}
    ]
    if decide.reason or decide.reason_code:
        reason: Json = {"text": decide.reason or decide.reason_code}
        if decide.reason_code:
            reason["coding"] = [{"code": decide.reason_code}]
        extensions.append(
            {"url": canonical.AUTHORIZATION_REASON_EXTENSION, "valueCodeableConcept": reason}
        )
    period = {"start": decide.starts_on, "end": decide.ends_on}
    dated = {k: v.isoformat() for k, v in period.items() if v}
    response: Json = {
        "resourceType": "ClaimResponse",
        "id": id_,
        "extension": extensions,
        "status": "active",
        "type": {"coding": [{"system": canonical.CLAIM_TYPE, "code": "professional"}]},
        "use": "preauthorization",
        "patient": {"reference": f"Patient/{patient}"},
        "created": decide.on.isoformat(),
        "insurer": reference_to(referral.plan),
        "outcome": "complete" if row.decided else "queued",
        "disposition": decide.reason or row.label,
    }
    if decide.number:
        response["preAuthRef"] = decide.number
    if dated:
        response["preAuthPeriod"] = dated
    return response


def decision_outputs(row: AuthorizationStatus, reference: str) -> list[Json]:
    """Task.output of a decision: its status for readers, its ClaimResponse for plans."""
    type_ = output_type("authorization-decision")
    status = concept(canonical.AUTHORIZATION_STATUS, row.code, row.label)
    return [
        {"type": type_, "valueCodeableConcept": status},
        {"type": type_, "valueReference": {"reference": reference}},
    ]
