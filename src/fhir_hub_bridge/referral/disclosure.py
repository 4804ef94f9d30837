"""What a party may see: a projection by allow-list, never the whole with parts removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fhir_hub_bridge.referral.lifecycle import standing, status_at
from fhir_hub_bridge.referral.model import (
    Identifier,
    Party,
    Referral,
    ReferralStatus,
    Report,
)
from fhir_hub_bridge.referral.rulebook import Rulebook


@dataclass(frozen=True, slots=True)
class ReferringEntityView:
    """All that a referring entity ever sees: no plan codes, no notes, nothing of Task2."""

    clr_id: str
    identifiers: tuple[Identifier, ...]
    service: str
    status: ReferralStatus | None
    authorization_status: str  # code of the authorization status table, or ""
    authorization_label: str
    authorization_reason: str
    authorized_on: date | None
    provider: Party | None
    closure_reason: str  # DHCS-level code, or ""
    closure_label: str
    closed_on: date | None


def view_of_referring_entity(referral: Referral, rulebook: Rulebook) -> ReferringEntityView:
    """The minimum the duty names: authorization and its reason, provider, closure and its date.

    Source: updated CLR MOU provision (authorization status, reason for closure, date of closure).
    """
    decision, closure = referral.decision, referral.closure
    reason = rulebook.closure_reason(closure.reason) if closure else None
    status = rulebook.authorization_status(decision.status) if decision else None
    return ReferringEntityView(
        clr_id=referral.clr_id,
        identifiers=referral.identifiers,
        service=referral.service,
        status=standing(referral, rulebook),
        authorization_status=status.code if status else "",
        authorization_label=status.label if status else "",
        # only the plan's words for its own decision; a provider's free text never leaves
        authorization_reason=decision.reason
        if decision and status and status.reason_required
        else "",
        authorized_on=decision.on if decision and status and status.decided else None,
        provider=referral.assignment.provider if referral.assignment else None,
        closure_reason=reason.code if reason else "",
        closure_label=reason.label if reason else "",
        closed_on=closure.on if closure else None,
    )


@dataclass(frozen=True, slots=True)
class ProviderView:
    """What a provider sees of a referral besides its own request, Task and the person.

    Not who referred, nothing of other providers, of the authorization only what it works and bills
    under.
    """

    clr_id: str
    service: str
    service_label: str
    assigned_on: date
    status: ReferralStatus
    ended: str  # why its part ended without its own word, in words; or ""
    authorization_number: str
    authorized_from: date | None
    authorized_to: date | None


def view_of_provider(referral: Referral, number: int, rulebook: Rulebook) -> ProviderView:
    """The view of the provider of this assignment."""
    assignment = referral.assignments[number - 1]
    decision, closure = referral.decision, referral.closure
    authorizes = decision and rulebook.authorization_status(decision.status).authorizes
    granted = decision if authorizes else None
    why = "Assigned to another provider" if assignment.ended == "reassigned" else ""
    if assignment.ended and closure:
        why = why or rulebook.closure_reason(closure.reason).label
    return ProviderView(
        clr_id=referral.clr_id,
        service=referral.service,
        service_label=rulebook.service(referral.service).label,
        assigned_on=assignment.on,
        status=status_at(assignment).status,
        ended=why,
        authorization_number=granted.number if granted else "",
        authorized_from=granted.starts_on if granted else None,
        authorized_to=granted.ends_on if granted else None,
    )


def view_of_report(report: Report) -> Report:
    """A reported status as a referring entity is told it: what and when, no reason and no words.

    For reports that close no loop: of a provider that ends its own part, the referrer is told that
    it declined.
    """
    declined = report.status is ReferralStatus.LOOP_CLOSED
    return Report(ReferralStatus.DECLINED if declined else report.status, report.on)
