"""The rulebook: what the program's papers settle, as rows with a source and a confidence.

Rules branch on a row's attributes, never on its code. Rows are read from `mappings/` by
`mapping.catalog`; this module holds their shapes and asks them questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeVar

from fhir_hub_bridge.errors import UnmappedCode
from fhir_hub_bridge.referral.deadlines import Calendar
from fhir_hub_bridge.referral.model import NoticeType

T = TypeVar("T")

Confidence = Literal["verified", "secondary", "inferred", "unverified", "project-default"]


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a fact comes from and how firm it is; shown beside every figure made with it."""

    source: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class BillingCode:
    """A HCPCS code and the modifiers that together name a service."""

    hcpcs: str
    modifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A service one can be referred to, and when closed-loop duties apply to it."""

    code: str
    label: str
    program: Literal["ecm", "community-supports", "other"]
    clr_from: date | None  # None: outside the closed-loop duties
    clr_to: date | None
    billing_codes: tuple[BillingCode, ...]
    sdoh_category: str
    citation: Citation

    def is_clr_applicable(self, on: date) -> bool:
        """Whether closed-loop referral duties apply to a referral made on this date."""
        return self.clr_from is not None and (
            self.clr_from <= on and (self.clr_to is None or on <= self.clr_to)
        )


@dataclass(frozen=True, slots=True)
class AuthorizationStatus:
    """A row of the authorization status table."""

    code: str
    label: str
    decided: bool  # a decision the referring entity is told of
    authorizes: bool
    reason_required: bool
    closes_with: str  # closure reason code this decision closes the loop with, or ""
    task_status: str  # lowest Task.status of the plan's Task once it stands, or ""
    citation: Citation
    valid_from: date | None = None


@dataclass(frozen=True, slots=True)
class ClosureReason:
    """A row of the closure reason table (DHCS *Reason for Referral Loop Closure*)."""

    code: str
    label: str
    served: bool
    provider_closes_loop: bool  # else a provider's closing with it ends only its own assignment
    requester_closes_loop: bool  # the one that a referral is closed with when it is taken back
    text_required: bool
    task_status: str  # completed, failed or cancelled
    citation: Citation
    valid_from: date | None = None


@dataclass(frozen=True, slots=True)
class NoticeRule:
    """By when a notice of this type is due. Named, so that a due date can say where it is from."""

    id: str
    notice: NoticeType
    within: int
    unit: Literal["business-days", "calendar-days", "business-hours"]
    clock_starts: Literal["learned_at", "effective_at"]
    valid_from: date
    citation: Citation


@dataclass(frozen=True, slots=True)
class Suppression:
    """A rule by which a notice is not owed or withheld; `applies` lets an operator switch it."""

    id: str
    applies: bool
    sentence: str
    citation: Citation


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All rows of one program, loaded once."""

    services: Mapping[str, Service]
    authorization_statuses: Mapping[str, AuthorizationStatus]
    authorization_bases: Mapping[str, bool]  # code -> whether services may start before a decision
    closure_reasons: Mapping[str, ClosureReason]
    notice_rules: tuple[NoticeRule, ...]
    suppressions: Mapping[str, Suppression]
    populations_of_focus: Mapping[str, str]
    calendar: Calendar
    version: str  # SHA-256 prefix of the files it was read from

    def service(self, code: str) -> Service:
        """The service with this code. Raises UnmappedCode."""
        return _row(self.services, code, "service")

    def authorization_status(self, code: str) -> AuthorizationStatus:
        """The authorization status with this code. Raises UnmappedCode."""
        return _row(self.authorization_statuses, code, "authorization status")

    def closure_reason(self, code: str) -> ClosureReason:
        """The closure reason with this code. Raises UnmappedCode."""
        return _row(self.closure_reasons, code, "closure reason")

    def withdrawal_reason(self) -> ClosureReason:
        """The reason a loop closes with when its referral is taken back; the rulebook has one."""
        return next(r for r in self.closure_reasons.values() if r.requester_closes_loop)

    def starts_before_decision(self, basis: str) -> bool:
        """Whether this authorization basis lets a provider start before a decision.

        Raises UnmappedCode.
        """
        return _row(self.authorization_bases, basis, "authorization basis")

    def notice_rule(self, notice: NoticeType, on: date) -> NoticeRule:
        """The row in force on this date for this notice type. Raises UnmappedCode if none is."""
        in_force = [r for r in self.notice_rules if r.notice is notice and r.valid_from <= on]
        if not in_force:
            raise UnmappedCode(f"The rulebook has no row for {notice} notices on {on}.")
        return max(in_force, key=lambda rule: rule.valid_from)


def _row(rows: Mapping[str, T], code: str, kind: str) -> T:
    try:
        return rows[code]
    except KeyError:
        raise UnmappedCode(f"No {kind} has this code.") from None
