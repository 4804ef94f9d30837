"""Codes as FHIR says them: our words with their system and label, and back again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.referral.model import Identifier, NoticeType, ReferralStatus
from fhir_hub_bridge.referral.rulebook import ClosureReason, Service

STATUS_LABELS = {
    ReferralStatus.PENDING: "Pending",
    ReferralStatus.ACCEPTED: "Accepted",
    ReferralStatus.DECLINED: "Declined",
    ReferralStatus.OUTREACH_INITIATED: "Outreach Initiated",
    ReferralStatus.LOOP_CLOSED: "Referral Loop Closed",
}
"""DHCS's own words for the five referral statuses."""

NOTICE_LABELS = {
    NoticeType.AUTHORIZATION_DECIDED: "Authorization decided",
    NoticeType.PROVIDER_ASSIGNED: "Provider assigned",
    NoticeType.STATUS_CHANGED: "Referral status changed",
    NoticeType.LOOP_CLOSED: "Referral loop closed",
}


OUTPUT_LABELS = {
    "authorization-decision": "Authorization decision",
    "assigned-provider": "Assigned provider",
}
"""The outputs of the plan's Task that the rules write."""


def output_type(code: str) -> Json:
    """Task.output.type of an output that the rules write."""
    coding = {"system": canonical.OUTPUT_TYPE, "code": code, "display": OUTPUT_LABELS[code]}
    return {"coding": [coding]}


def concept(system: str, code: str, label: str) -> Json:
    """A CodeableConcept with one coding."""
    return {"coding": [{"system": system, "code": code, "display": label}], "text": label}


def code_in(value: Json | None, system: str) -> str:
    """The code a CodeableConcept has in this system, or ""."""
    codings: Iterable[Json] = (value or {}).get("coding", ())
    return next((c.get("code", "") for c in codings if c.get("system") == system), "")


def business_status(status: ReferralStatus, on: date) -> Json:
    """Task.businessStatus: the referral status and the date it took effect."""
    return {
        "extension": [{"url": canonical.STATUS_DATE_EXTENSION, "valueDate": on.isoformat()}],
        **concept(canonical.REFERRAL_STATUS, status, STATUS_LABELS[status]),
    }


def status_reason(reason: ClosureReason, text: str = "") -> Json:
    """Task.statusReason: the closure reason; SDOHCC makes the text mandatory."""
    return {
        **concept(canonical.CLOSURE_REASON, reason.code, reason.label),
        "text": text or reason.label,
    }


def service_concept(service: Service) -> Json:
    """ServiceRequest.code for a service of ours."""
    return concept(canonical.SERVICE, service.code, service.label)


def service_category(service: Service) -> list[Json]:
    """ServiceRequest.category: SDOHCC's domain of the service, under US Core's `sdoh`."""
    us_core = {"system": canonical.US_CORE_CATEGORY, "code": "sdoh", "display": "SDOH"}
    domain = {"system": canonical.SDOHCC_TEMPORARY_CODES, "code": service.sdoh_category}
    return [{"coding": [us_core]}, {"coding": [domain]}]


def identifier(value: Identifier) -> Json:
    """An Identifier."""
    return {"system": value.system, "value": value.value}


def our_identifier(kind: str, system: str, value: str) -> Json:
    """An Identifier of ours with its v2-0203 type: PLAC (placer) or FILL (filler)."""
    return {
        "type": {"coding": [{"system": canonical.IDENTIFIER_TYPE, "code": kind}]},
        "system": system,
        "value": value,
    }
