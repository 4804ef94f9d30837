"""The plain words of the pages for people: never FHIR's, never a code where a word will do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fhir_hub_bridge.referral import lifecycle
from fhir_hub_bridge.referral.model import (
    Amend,
    Assign,
    Decide,
    Event,
    EventKind,
    Evidence,
    NoticeType,
    Party,
    Refer,
    Referral,
    ReferralStatus,
    Report,
)
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.notice_rows import COPY

STANDING: Final[Mapping[ReferralStatus, str]] = MappingProxyType(
    {
        ReferralStatus.PENDING: "No provider has answered yet",
        ReferralStatus.ACCEPTED: "The provider will help this person",
        ReferralStatus.DECLINED: "The provider cannot take this person",
        ReferralStatus.OUTREACH_INITIATED: "The provider is trying to reach the person",
        ReferralStatus.LOOP_CLOSED: "Closed",
    }
)

REPORTED: Final[Mapping[ReferralStatus, str]] = MappingProxyType(
    {
        ReferralStatus.PENDING: "We have not answered yet",
        ReferralStatus.ACCEPTED: "We will help this person",
        ReferralStatus.DECLINED: "We cannot take this person",
        ReferralStatus.OUTREACH_INITIATED: "We are trying to reach this person",
        ReferralStatus.LOOP_CLOSED: "We are done",
    }
)

CLOSURE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "services-received": "The person got the service",
        "provider-declined": "No provider could take this person",
        "unable-to-reach": "The person could not be reached",
        "no-longer-eligible": "The person can no longer get this service",
        "member-declined": "The person said no, or no longer needs it",
        "other": "Another reason",
        "authorization-denied": "The plan said no",
        "referral-withdrawn": "The referral was taken back",
    }
)

DECISION: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pending": "not decided yet",
        "approved": "yes",
        "approved-modified": "yes, with changes",
        "deferred": "put off, more information is needed",
        "denied": "no",
        "withdrawn": "the request was taken back",
    }
)

NOTICE: Final[Mapping[NoticeType, str]] = MappingProxyType(
    {
        NoticeType.AUTHORIZATION_DECIDED: "Tell the referrer what the plan decided",
        NoticeType.PROVIDER_ASSIGNED: "Tell the referrer who will help",
        NoticeType.STATUS_CHANGED: "Tell the referrer how it goes",
        NoticeType.LOOP_CLOSED: "Tell the referrer how it ended",
    }
)

FLAG: Final[Mapping[str, str]] = MappingProxyType(
    {
        "late": "Told late: newer news had come before. Kept; nothing changed.",
        "out-of-order": "Told out of order. Kept; nothing changed.",
        "after-closure": "Told after the loop was closed. Kept for a person to look at.",
        "second-closure": "A second ending was told; the first one stands. Kept for a person.",
        "before-authorization": "Told before the plan had decided.",
        "repeated": "Told before; nothing changed.",
        "after-reassignment": "Told by a provider who no longer has it. Kept for a person.",
        "second-referral": "The same person was already referred to this service by another.",
    }
)

HELD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "member-unknown": "The Medi-Cal number is missing",
        "plan-unknown": "The plan is not known here",
    }
)

TASK_STATUS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "draft": "draft",
        "requested": "new",
        "received": "new",
        "accepted": "accepted",
        "rejected": "turned down",
        "in-progress": "under way",
        "on-hold": "on hold",
        "completed": "done",
        "failed": "ended without the service",
        "cancelled": "called off",
        "entered-in-error": "entered by mistake",
    }
)

CONFIDENCE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "verified": "verified",
        "secondary": "from a secondary source",
        "inferred": "inferred",
        "unverified": "not verified",
        "project-default": "project default",
    }
)

ATTEMPT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accepted": "their system said yes",
        "sent": "laid where they fetch it",
        "received": "they confirmed that they have it",
        "unavailable": "no clear answer; it will be tried again",
        "refused": "their system said no",
        "unsendable": "it cannot be sent as things stand",
        "lease-lost": "another worker had taken over",
        "withheld": "withheld by a person",
    }
)

METHOD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fhir-push": "to their FHIR server",
        "file-drop": "as a file in their folder",
        "": "no way of telling is agreed",
    }
)


def owed(type_: str) -> str:
    """What is to be sent: a notice to the referrer, or a provider's copy."""
    return "Send the provider its copy" if type_ == COPY else NOTICE[NoticeType(type_)]


def standing(value: Referral, rulebook: Rulebook) -> str:
    """Where a referral stands."""
    status = lifecycle.standing(value, rulebook)
    if value.closure is not None:
        return f"Closed: {closure(value.closure.reason, rulebook).lower()}"
    if status is ReferralStatus.PENDING:
        if value.assignment is None:
            return "Approved; a provider must be named"
        return "Waiting for the provider’s answer"
    if status is ReferralStatus.DECLINED:
        return f"{STANDING[status]}; another must be found"
    if status is not None:
        return STANDING[status]
    made = value.decision
    if made is None or not rulebook.authorization_status(made.status).decided:
        return "Waiting for the plan’s decision"
    return f"The plan’s decision: {decision(made.status, rulebook)}"


def decision(code: str, rulebook: Rulebook) -> str:
    """A decision of the plan; the table's own label for one that an operator added."""
    row = rulebook.authorization_statuses.get(code)
    return DECISION.get(code) or (row.label if row else code)


def closure(code: str, rulebook: Rulebook) -> str:
    """Why a loop was closed; the table's own label for a reason that an operator added."""
    row = rulebook.closure_reasons.get(code)
    return CLOSURE.get(code) or (row.label if row else code)


def service(code: str, rulebook: Rulebook) -> str:
    """The service's label."""
    row = rulebook.services.get(code)
    return row.label if row else code


def party(value: Party, otherwise: str) -> str:
    """An organisation's name, else its number."""
    if value.name:
        return value.name
    if value.npi:
        return f"NPI {value.npi}"
    return f"TIN {value.tin}" if value.tin else otherwise


def event(value: Event, rulebook: Rulebook, closed_with: str) -> str:
    """What happened, in one sentence. `closed_with` is the closure reason of the referral."""
    match value.kind, value.act:
        case EventKind.REFERRAL_RECEIVED, Refer(inferred=True):
            return "Referral opened because a provider’s file spoke of it"
        case EventKind.AUTHORIZATION_DECIDED, Decide(status=status):
            return f"The plan’s decision: {decision(status, rulebook)}"
        case EventKind.PROVIDER_ASSIGNED, Assign(provider=provider):
            return f"Given to {party(provider, 'a provider')}"
        case EventKind.STATUS_REPORTED, Report() as report:
            said = REPORTED[report.status]
            if report.reason:
                said = f"{said}: {closure(report.reason, rulebook).lower()}"
            who = party(report.provider, "The plan") if report.provider.is_named else "The plan"
            return f"{who}: “{said}”"
        case EventKind.REFERRAL_AMENDED, Amend():
            return "The referrer changed what it asks for"
        case EventKind.REFERRAL_WITHDRAWN, _:
            return "The referrer took the referral back"
        case EventKind.LOOP_CLOSED, _:
            return f"Loop closed: {closure(closed_with, rulebook).lower()}"
        case _:
            return "Referral received"


def evidence(value: Evidence) -> str:
    """How we were told, at the beginning of a sentence."""
    match value.channel:
        case "fhir":
            return "By FHIR"
        case "file":
            row = f", row {value.row}" if value.row else ""
            return f"By file {value.file}{row}"
        case "command":
            return "By command"
        case "bridge":
            return "By rule"


def rule(name: str, rulebook: Rulebook) -> str:
    """The sentence of a rule by which a notice is withheld, escalated or not owed."""
    row = rulebook.suppressions.get(name)
    return row.sentence if row else name
