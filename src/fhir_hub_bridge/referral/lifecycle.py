"""How a referral moves: one act in, the referral after it and the events it made out.

What is late, out of order or told after the closure is kept and flagged, never applied and never
lost. A closure is never undone. Before: `assignment`, one provider's part. After: `notices`.
Source: docs/reference/program-rules.md.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import assert_never

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.referral.assignment import (
    FOLLOWS,
    ended_by_plan,
    has_ended,
    in_whose_span,
    is_said_before,
    mermaid,
    status_at,
    why_not_moved,
    with_entry,
)
from fhir_hub_bridge.referral.deadlines import local_date
from fhir_hub_bridge.referral.model import (
    Act,
    Amend,
    Assign,
    Assignment,
    Closure,
    Decide,
    Event,
    EventKind,
    Refer,
    Referral,
    ReferralId,
    ReferralStatus,
    Report,
    StatusEntry,
    Told,
    Withdraw,
)
from fhir_hub_bridge.referral.rulebook import AuthorizationStatus, ClosureReason, Rulebook

__all__ = [
    "FOLLOWS",
    "apply",
    "closes_loop",
    "is_authorized",
    "mermaid",
    "rebuild",
    "receive",
    "standing",
    "status_at",
    "why_held",
]

S = ReferralStatus


def receive(
    refer: Refer,
    *,
    id: ReferralId,  # noqa: A002  its name everywhere
    clr_id: str,
    told: Told,
    rulebook: Rulebook,
) -> tuple[Referral, tuple[Event, ...]]:
    """A new referral and its first event.

    Raises UnmappedCode for an unknown service, RuleBroken (`future-date`) for a referral date
    after the day it was learned.
    """
    rulebook.service(refer.service)
    today = local_date(told.learned_at, rulebook.calendar)
    if refer.referred_on is not None:
        _check_not_future(refer.referred_on, today=today)
    referral = Referral(
        id=id,
        clr_id=refer.clr_id or clr_id,
        service=refer.service,
        plan=refer.plan,
        requester=refer.requester,
        cin=refer.member.cin,
        received_at=told.learned_at,
        identifiers=refer.identifiers,
        referred_on=refer.referred_on,
        self_referral=refer.self_referral,
        inferred=refer.inferred,
        replaces=refer.replaces,
        population_of_focus=refer.population_of_focus,
    )
    event = Event(
        number=1,
        kind=EventKind.REFERRAL_RECEIVED,
        on=refer.referred_on or today,
        told=told,
        act=refer,
    )
    return referral, (event,)


def apply(
    referral: Referral, act: Act, *, told: Told, rulebook: Rulebook, last_event: int
) -> tuple[Referral, tuple[Event, ...]]:
    """The referral after this act, and the events it made; no events when nothing is new.

    Raises RuleBroken naming the rule, or UnmappedCode; then nothing has changed.
    1. Dates: not in the future, not before the referral.  2. Said before: unchanged.
    3. The act's own rules.  4. What follows by rule (a closure) is an event of its own.
    """
    today = local_date(told.learned_at, rulebook.calendar)
    if not isinstance(act, Refer):
        _check_not_future(act.on, today=today)
        if referral.referred_on is not None and act.on < referral.referred_on:
            raise RuleBroken(
                "before-referral",
                f"{act.on} is before the referral was made ({referral.referred_on}).",
            )
    match act:
        case Refer():
            return referral, ()  # a repeat; the first answer stands
        case Decide():
            return _decide(referral, act, told=told, rulebook=rulebook, last_event=last_event)
        case Assign():
            return _assign(referral, act, told=told, rulebook=rulebook, last_event=last_event)
        case Report():
            return _report(referral, act, told=told, rulebook=rulebook, last_event=last_event)
        case Amend():
            return _amend(referral, act, told=told, last_event=last_event)
        case Withdraw():
            return _withdraw(referral, act, told=told, rulebook=rulebook, last_event=last_event)
        case _:
            assert_never(act)


def is_authorized(referral: Referral, rulebook: Rulebook) -> bool:
    """Whether a provider may be given it now: approved, or a basis that needs no decision yet.

    A referral opened from a provider's file has no decision on record; the file is its evidence.
    """
    decision = referral.decision
    if decision is None:
        return referral.inferred
    status = rulebook.authorization_status(decision.status)
    if status.decided:
        return status.authorizes
    return status.authorizes or rulebook.starts_before_decision(decision.basis)


def standing(referral: Referral, rulebook: Rulebook) -> ReferralStatus | None:
    """The referral status that counts, or None before authorization."""
    if referral.closure is not None:
        return S.LOOP_CLOSED
    if referral.assignment is not None:
        status = status_at(referral.assignment).status
        # closed by its provider without closing the loop: the plan must find another
        return S.DECLINED if status is S.LOOP_CLOSED else status
    return S.PENDING if is_authorized(referral, rulebook) else None


def why_held(referral: Referral) -> str:
    """Why a person must complete this referral before it can be worked, or ""."""
    if not referral.cin:
        return "member-unknown"
    return "" if referral.plan.partner else "plan-unknown"


def closes_loop(act: Report, rulebook: Rulebook) -> bool:
    """Whether this report closes the loop: the plan's word, or a reason a provider closes with."""
    if act.status is not S.LOOP_CLOSED:
        return False
    return not act.provider.is_named or rulebook.closure_reason(act.reason).provider_closes_loop


def rebuild(
    events: tuple[Event, ...],
    rulebook: Rulebook,
    *,
    id: ReferralId,  # noqa: A002
    clr_id: str,
) -> Referral:
    """The referral from its events alone; equal to the one stored. Raises RuleBroken if cut."""
    first, *rest = events
    if not isinstance(first.act, Refer):
        raise RuleBroken("cut-history", "The history does not begin with the referral.")
    referral, _ = receive(first.act, id=id, clr_id=clr_id, told=first.told, rulebook=rulebook)
    for event in rest:
        if event.act is not None:
            referral, _ = apply(
                referral, event.act, told=event.told, rulebook=rulebook, last_event=event.number - 1
            )
    return referral


def _decide(
    referral: Referral, act: Decide, *, told: Told, rulebook: Rulebook, last_event: int
) -> tuple[Referral, tuple[Event, ...]]:
    """The authorization has its own history: one still open when the loop closed is yet decided.

    A closure is not undone by it; a closed loop whose authorization was decided takes no other.
    """
    status = rulebook.authorization_status(act.status)
    _check_in_force(status, act.on)
    rulebook.starts_before_decision(act.basis)
    decided = referral.decision
    if act == decided or (decided and act.on < decided.on and act in referral.decisions):
        return referral, ()  # of one day the last told stands, though it was told before another
    if decided is not None and rulebook.authorization_status(decided.status).decided:
        _check_open(referral)
    if status.reason_required and not act.reason:
        raise RuleBroken("decision-needs-reason", f"'{act.status}' needs a reason.")
    decisions = tuple(sorted((*referral.decisions, act), key=lambda d: d.on))
    stands = decisions[-1] is act
    flags = () if stands else ("out-of-order",)
    event = Event(
        number=last_event + 1,
        kind=EventKind.AUTHORIZATION_DECIDED,
        on=act.on,
        told=told,
        act=act,
        flags=(*flags, "after-closure") if referral.closure and status.closes_with else flags,
        moved=stands,
    )
    closing = stands and status.closes_with and referral.closure is None
    referral = replace(referral, decisions=decisions)
    if not closing:
        return referral, (event,)
    closure = Closure(reason=status.closes_with, on=act.on, text=act.reason)
    return _close(referral, closure, told=told, ended="authorization", after=(event,))


def _assign(
    referral: Referral, act: Assign, *, told: Told, rulebook: Rulebook, last_event: int
) -> tuple[Referral, tuple[Event, ...]]:
    if is_said_before(act, referral.assignments, closed=referral.closure is not None):
        return referral, ()
    _check_open(referral)
    if not is_authorized(referral, rulebook):
        raise RuleBroken(
            "assign-before-authorization",
            "A provider is assigned after approval, or on a basis that needs no decision yet.",
        )
    if not act.provider.is_named:
        raise RuleBroken("provider-unknown", "The assignment names no provider.")
    now = referral.assignment
    if now is not None and act.on < now.on:
        raise RuleBroken("assigned-since", f"It was assigned on {now.on}; {act.on} is before that.")
    number = len(referral.assignments) + 1
    before = tuple(ended_by_plan(a, "reassigned") for a in referral.assignments)
    assignment = Assignment(number, act.provider, act.on, (StatusEntry(S.PENDING, act.on),))
    event = Event(
        number=last_event + 1,
        kind=EventKind.PROVIDER_ASSIGNED,
        on=act.on,
        told=told,
        act=act,
        assignment=number,
    )
    return replace(referral, assignments=(*before, assignment)), (event,)


def _report(
    referral: Referral, act: Report, *, told: Told, rulebook: Rulebook, last_event: int
) -> tuple[Referral, tuple[Event, ...]]:
    """1. Whose it is.  2. Said before?  3. Into the assignment of its date.  4. What it closes."""
    by_plan = not act.provider.is_named
    entry = StatusEntry(act.status, act.on, act.reason, act.text, act.plan_code, by_plan)
    _check_reason(act, rulebook)
    closes = closes_loop(act, rulebook)
    own = [a for a in referral.assignments if by_plan or a.provider.is_same_as(act.provider)]
    if not own and not (by_plan and closes):
        raise RuleBroken("not-assigned", "The referral is not assigned to this provider.")
    if any(entry in assignment.statuses for assignment in own):
        return referral, ()
    assignment = in_whose_span(act.on, own) if own else None
    is_over = assignment is not None and (
        has_ended(assignment) or assignment is not referral.assignment
    )
    if by_plan and closes and is_over:
        assignment = None  # the plan closes the loop without one
    closure = Closure(
        act.reason, act.on, act.text, act.plan_code, assignment.number if assignment else None
    )
    if assignment is None and (closure == referral.closure or act in referral.kept):
        return referral, ()
    moved, flags = True, []
    if assignment is not None:
        before, asked_last = status_at(own[-1]), own[-1] is referral.assignment
        counts = assignment is referral.assignment
        assignment = with_entry(assignment, entry)
        moved = counts and status_at(assignment) is entry
        if not moved:
            flags = [why_not_moved(before, entry) if asked_last else "after-reassignment"]
    if referral.closure is not None:
        moved, flags = False, ["second-closure" if closes else "after-closure"]
    elif not is_authorized(referral, rulebook):
        flags.append("before-authorization")
    event = Event(
        number=last_event + 1,
        kind=EventKind.STATUS_REPORTED,
        on=act.on,
        told=told,
        act=act,
        assignment=assignment.number if assignment else None,
        flags=tuple(flags),
        moved=moved,
    )
    referral = _with_report(referral, act, assignment)
    if closes and moved:
        return _close(referral, closure, told=told, ended="plan-closed", after=(event,))
    return referral, (event,)


def _with_report(referral: Referral, act: Report, assignment: Assignment | None) -> Referral:
    if assignment is None:
        return replace(referral, kept=(*referral.kept, act)) if referral.closure else referral
    return replace(
        referral,
        assignments=tuple(
            assignment if a.number == assignment.number else a for a in referral.assignments
        ),
    )


def _amend(
    referral: Referral, act: Amend, *, told: Told, last_event: int
) -> tuple[Referral, tuple[Event, ...]]:
    """What is wished changes, where the referral stands does not."""
    _check_open(referral)
    event = Event(last_event + 1, EventKind.REFERRAL_AMENDED, act.on, told, act)
    return referral, (event,)


def _withdraw(
    referral: Referral, act: Withdraw, *, told: Told, rulebook: Rulebook, last_event: int
) -> tuple[Referral, tuple[Event, ...]]:
    """The loop closes with the rulebook's reason for it, whoever has the referral by then."""
    closure = Closure(rulebook.withdrawal_reason().code, act.on, act.text)
    if referral.closure == closure:
        return referral, ()
    _check_open(referral)
    event = Event(last_event + 1, EventKind.REFERRAL_WITHDRAWN, act.on, told, act)
    return _close(referral, closure, told=told, ended="withdrawn", after=(event,))


def _close(
    referral: Referral, closure: Closure, *, told: Told, ended: str, after: tuple[Event, ...]
) -> tuple[Referral, tuple[Event, ...]]:
    event = Event(
        number=after[-1].number + 1,
        kind=EventKind.LOOP_CLOSED,
        on=closure.on,
        told=told,
        assignment=closure.assignment,
    )
    assignments = tuple(ended_by_plan(a, ended) for a in referral.assignments)
    return replace(referral, closure=closure, assignments=assignments), (*after, event)


def _check_not_future(on: date, *, today: date) -> None:
    if on > today:
        raise RuleBroken("future-date", f"{on} is after today ({today}).")


def _check_open(referral: Referral) -> None:
    if referral.closure is not None:
        raise RuleBroken(
            "loop-closed",
            "The loop is closed; a new need is a new referral that replaces this one.",
        )


def _check_reason(act: Report, rulebook: Rulebook) -> None:
    if act.status is not S.LOOP_CLOSED:
        if act.reason:
            raise RuleBroken("reason-without-closure", "A closure reason needs a closed loop.")
        return
    if not act.reason:
        raise RuleBroken("closure-needs-reason", "A loop is closed only with a reason.")
    reason = rulebook.closure_reason(act.reason)
    _check_in_force(reason, act.on)
    if reason.text_required and not act.text:
        raise RuleBroken("reason-needs-text", f"'{act.reason}' needs a few words of explanation.")


def _check_in_force(row: AuthorizationStatus | ClosureReason, on: date) -> None:
    if row.valid_from is not None and on < row.valid_from:
        raise RuleBroken("not-in-force", f"'{row.code}' is in use from {row.valid_from}.")
