"""The values every rule speaks of: a referral, what partners say about it, what happened to it.

Two axes are never merged: the plan's authorization decisions and the provider's referral
statuses; each is a dated, append-only history. Nothing here knows FHIR, files or the database;
`lifecycle` moves these values, `mapping` translates them.
Terms: DHCS closed-loop referral guidance (see docs/reference/glossary.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Literal, NewType

ReferralId = NewType("ReferralId", str)
PartnerId = NewType("PartnerId", str)
NoticeId = NewType("NoticeId", str)


class ReferralStatus(StrEnum):
    """Where a referral stands with its provider (DHCS element *Referral Status*)."""

    PENDING = "pending"  # authorized and with the provider, who has not answered
    ACCEPTED = "accepted"
    DECLINED = "declined"  # the provider cannot take it; not the member's refusal
    OUTREACH_INITIATED = "outreach-initiated"
    LOOP_CLOSED = "loop-closed"  # needs a closure reason and a date


class NoticeType(StrEnum):
    """What a referring entity is told (referrer notices)."""

    AUTHORIZATION_DECIDED = "authorization-decided"
    PROVIDER_ASSIGNED = "provider-assigned"
    STATUS_CHANGED = "status-changed"  # only where the notification agreement asks for it
    LOOP_CLOSED = "loop-closed"


class EventKind(StrEnum):
    """What can happen to a referral; one row of its append-only history each."""

    REFERRAL_RECEIVED = "referral-received"
    AUTHORIZATION_DECIDED = "authorization-decided"
    PROVIDER_ASSIGNED = "provider-assigned"
    STATUS_REPORTED = "status-reported"
    REFERRAL_AMENDED = "referral-amended"
    REFERRAL_WITHDRAWN = "referral-withdrawn"
    LOOP_CLOSED = "loop-closed"  # follows from another event; never told by itself


@dataclass(frozen=True, slots=True)
class Identifier:
    """A business identifier: `system` is a URI, `value` what that system calls the thing."""

    system: str
    value: str


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation as its source names it, and the partner it was recognised as, if any."""

    name: str = ""
    npi: str = ""
    tin: str = ""
    partner: PartnerId | None = None

    @property
    def is_named(self) -> bool:
        """Whether anything at all is known of it."""
        return bool(self.partner or self.npi or self.tin or self.name)

    @property
    def is_numbered(self) -> bool:
        """Whether it is known by more than a name, which alone identifies nobody."""
        return bool(self.partner or self.npi or self.tin)

    def is_same_as(self, other: Party) -> bool:
        """Whether both are certainly one organisation: same partner, else same NPI, else same TIN.

        Names alone never make two parties one.
        """
        if self.partner and other.partner:
            return self.partner == other.partner
        if self.npi and other.npi:
            return self.npi == other.npi
        return bool(self.tin and self.tin == other.tin)


@dataclass(frozen=True, slots=True)
class Member:
    """What a source says of the person referred. Any part may be unknown ("")."""

    cin: str = ""  # Medi-Cal Client Index Number, nine characters
    family: str = ""
    given: str = ""
    birth_date: date | None = None
    phone: str = ""
    address_line: str = ""
    city: str = ""
    state: str = ""
    postal_code: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an update came from: enough to find the very line or request again."""

    channel: Literal["fhir", "file", "command", "bridge"]
    source: str = ""  # layout name, or the FHIR interaction
    file: str = ""  # the file's name, no folder
    row: int | None = None  # line in the file, 1 = the first line
    digest: str = ""  # SHA-256 of the file or of the request body


@dataclass(frozen=True, slots=True)
class Refer:
    """A new referral. `requester` is who must be told; empty when nobody outside the plan is."""

    service: str
    member: Member
    plan: Party
    requester: Party
    identifiers: tuple[Identifier, ...] = ()
    clr_id: str = ""  # the id every level of the referral shares; minted when absent
    referred_on: date | None = None
    self_referral: bool = False
    inferred: bool = False  # opened because a file spoke of it, not because someone referred
    replaces: str = ""
    population_of_focus: str = ""


@dataclass(frozen=True, slots=True)
class Decide:
    """The plan's authorization decision. `status` is a code of the authorization status table."""

    status: str
    on: date
    basis: str = "prior"
    number: str = ""
    starts_on: date | None = None
    ends_on: date | None = None
    reason_code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Assign:
    """The plan gives the referral to a provider; again, with another, it is a re-assignment."""

    provider: Party
    on: date


@dataclass(frozen=True, slots=True)
class Report:
    """A referral status as told by a provider, or by the plan (then `provider` may be empty).

    `reason` is a code of the closure reason table, only with LOOP_CLOSED; `plan_code` is what
    the plan itself calls it and never leaves for others.
    """

    status: ReferralStatus
    on: date
    provider: Party = Party()
    reason: str = ""
    text: str = ""
    plan_code: str = ""


@dataclass(frozen=True, slots=True)
class Amend:
    """Who sent the referral changed its wishes: not the person, not the service.

    `changed` names the elements, like `ServiceRequest.priority`; what they hold is in the resource.
    """

    on: date
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Who made the referral takes it back. The authorization's own history is left as it is."""

    on: date
    text: str = ""


Act = Refer | Decide | Assign | Report | Amend | Withdraw


@dataclass(frozen=True, slots=True)
class Told:
    """Who said it, for whom, when we could know it, and where it is written."""

    by: Party
    learned_at: datetime  # aware, UTC
    evidence: Evidence
    on_behalf_of: Party = Party()
    history: bool = False  # the past, told elsewhere: owes nothing


@dataclass(frozen=True, slots=True)
class ReferralUpdate:
    """What a partner says about one referral, in the order it says it."""

    told: Told
    acts: tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One entry of the dated referral status history."""

    status: ReferralStatus
    on: date
    reason: str = ""
    text: str = ""
    plan_code: str = ""
    by_plan: bool = False


@dataclass(frozen=True, slots=True)
class Assignment:
    """The referral at one provider: its own status history, ordered by date."""

    number: int
    provider: Party
    on: date
    statuses: tuple[StatusEntry, ...]
    ended: str = ""  # why it was taken away: reassigned, plan-closed, authorization, withdrawn


@dataclass(frozen=True, slots=True)
class Closure:
    """How the loop was closed. A recorded closure is never undone."""

    reason: str
    on: date
    text: str = ""
    plan_code: str = ""
    assignment: int | None = None


@dataclass(frozen=True, slots=True)
class Referral:
    """Where one referral stands; rebuildable from its events."""

    id: ReferralId
    clr_id: str
    service: str
    plan: Party
    requester: Party
    cin: str
    received_at: datetime
    identifiers: tuple[Identifier, ...] = ()
    referred_on: date | None = None
    self_referral: bool = False
    inferred: bool = False
    replaces: str = ""
    population_of_focus: str = ""
    decisions: tuple[Decide, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    closure: Closure | None = None
    kept: tuple[Report, ...] = ()  # told after the closure, and no assignment holds them

    @property
    def decision(self) -> Decide | None:
        """The decision that stands: the latest by its date, among equals the last told."""
        return self.decisions[-1] if self.decisions else None

    @property
    def assignment(self) -> Assignment | None:
        """The assignment that counts: the newest."""
        return self.assignments[-1] if self.assignments else None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `act` is what was said; None where it followed by rule.

    `flags` say why a statement was kept without moving the referral: `late`, `out-of-order`,
    `repeated`, `after-reassignment`, `after-closure`, `second-closure`; or what else is worth
    knowing of it: `before-authorization`, `second-referral`.
    """

    number: int  # 1, 2, 3 ... within the referral
    kind: EventKind
    on: date
    told: Told
    act: Act | None = None
    assignment: int | None = None
    flags: tuple[str, ...] = ()
    moved: bool = True  # whether the referral stands elsewhere because of it
