"""Which notices an event owes, to whom, by when; or by which rule none is owed.

Every event is asked; every answer is recorded: owed, withheld by a rule, or not owed by a rule.
`intake.record_referral` freezes what is owed in the same transaction; `delivery` sends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from fhir_hub_bridge.referral.deadlines import due_at, local_date
from fhir_hub_bridge.referral.lifecycle import closes_loop
from fhir_hub_bridge.referral.model import (
    Decide,
    Event,
    EventKind,
    NoticeType,
    Party,
    Referral,
    ReferralStatus,
    Report,
)
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.referral.rulebook import NoticeRule, Rulebook


@dataclass(frozen=True, slots=True)
class NoticeOwed:
    """One duty to tell. `rule` names why it is withheld, or why it is escalated from the start."""

    type: NoticeType
    event_number: int
    recipient: Party
    owed_at: datetime
    due_at: datetime
    because: NoticeRule
    state: Literal["pending", "withheld"] = "pending"
    rule: str = ""
    escalate: bool = False


@dataclass(frozen=True, slots=True)
class NotOwed:
    """A notice one might expect, and the rule by which nobody is owed it."""

    type: NoticeType
    event_number: int
    rule: str


def notices_owed(
    referral: Referral,
    events: tuple[Event, ...],
    *,
    agreement: Agreement | None,
    rulebook: Rulebook,
) -> tuple[tuple[NoticeOwed, ...], tuple[NotOwed, ...]]:
    """The notices these events owe the referring entity, and those they do not, each by its rule.

    `agreement` is the referring entity's, None where none is on record: then what is owed is
    escalated at once (`no-agreement`). Due moments are UTC. Source: rulebook rows.
    """
    owed: list[NoticeOwed] = []
    not_owed: list[NotOwed] = []
    for event in events:
        notice = _notice_of(event, rulebook)
        if notice is None:
            continue
        rule = _why_not_owed(referral, event, notice, agreement=agreement, rulebook=rulebook)
        if rule:
            not_owed.append(NotOwed(notice, event.number, rule))
        else:
            owed.append(_owed(referral, event, notice, agreement=agreement, rulebook=rulebook))
    return tuple(owed), tuple(not_owed)


def _notice_of(event: Event, rulebook: Rulebook) -> NoticeType | None:
    match event.kind, event.act:
        case EventKind.AUTHORIZATION_DECIDED, Decide(status=status):
            decided = rulebook.authorization_status(status).decided and event.moved
            return NoticeType.AUTHORIZATION_DECIDED if decided else None
        case EventKind.PROVIDER_ASSIGNED, _:
            return NoticeType.PROVIDER_ASSIGNED
        case EventKind.LOOP_CLOSED, _:
            return NoticeType.LOOP_CLOSED
        case EventKind.STATUS_REPORTED, Report() as report:
            if not event.moved or report.status is ReferralStatus.PENDING:
                return None
            if closes_loop(report, rulebook):
                return None  # the loop-closed notice says it
            return NoticeType.STATUS_CHANGED
        case _:
            return None


def _why_not_owed(
    referral: Referral,
    event: Event,
    notice: NoticeType,
    *,
    agreement: Agreement | None,
    rulebook: Rulebook,
) -> str:
    """The first rule by which nobody is owed this notice, or ""."""
    requester = referral.requester
    day = referral.referred_on or local_date(referral.received_at, rulebook.calendar)
    provider = referral.assignment.provider if referral.assignment else Party()
    by_rule = (
        ("outside-clr", not rulebook.service(referral.service).is_clr_applicable(day)),
        ("told-elsewhere", event.told.history),
        ("self-referral", referral.self_referral),
        ("referrer-unknown", referral.inferred or not requester.is_named),
        ("plan-internal", requester.is_same_as(referral.plan)),
        ("referrer-is-provider", requester.is_same_as(provider)),
        (
            "not-agreed",
            notice is NoticeType.STATUS_CHANGED and not (agreement and agreement.every_status),
        ),
    )
    return next(
        (rule for rule, holds in by_rule if holds and rulebook.suppressions[rule].applies), ""
    )


def _owed(
    referral: Referral,
    event: Event,
    notice: NoticeType,
    *,
    agreement: Agreement | None,
    rulebook: Rulebook,
) -> NoticeOwed:
    learned = event.told.learned_at
    because = rulebook.notice_rule(notice, local_date(learned, rulebook.calendar))
    started: date | datetime = learned if because.clock_starts == "learned_at" else event.on
    due = due_at(started, within=because.within, unit=because.unit, calendar=rulebook.calendar)
    state: Literal["pending", "withheld"] = "pending"
    rule = ""
    if agreement is None:
        rule = "no-agreement"
    elif event.on < agreement.notify_from and rulebook.suppressions["before-go-live"].applies:
        state, rule = "withheld", "before-go-live"
    return NoticeOwed(
        type=notice,
        event_number=event.number,
        recipient=referral.requester,
        owed_at=learned,
        due_at=due,
        because=because,
        state=state,
        rule=rule,
        escalate=rule == "no-agreement",
    )
