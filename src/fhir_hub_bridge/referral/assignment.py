"""One provider's part of a referral: its dated statuses, folded in date order through FOLLOWS.

The order in which reports arrive does not decide where an assignment stands, their dates do. A
provider that is asked anew begins anew: what is dated before that is of its part before.
The diagram in docs is drawn from FOLLOWS. After: `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from fhir_hub_bridge.referral.model import Assign, Assignment, ReferralStatus, StatusEntry

S = ReferralStatus

FOLLOWS: Mapping[ReferralStatus, frozenset[ReferralStatus]] = {
    S.PENDING: frozenset({S.ACCEPTED, S.DECLINED, S.OUTREACH_INITIATED, S.LOOP_CLOSED}),
    S.ACCEPTED: frozenset({S.OUTREACH_INITIATED, S.DECLINED, S.LOOP_CLOSED}),
    S.OUTREACH_INITIATED: frozenset({S.ACCEPTED, S.DECLINED, S.LOOP_CLOSED}),
    S.DECLINED: frozenset({S.LOOP_CLOSED}),  # pending again only with a new assignment
    S.LOOP_CLOSED: frozenset(),
}
"""Which status may follow which at one provider. Providers report monthly: skipping is allowed."""

_ENDING = frozenset({S.DECLINED, S.LOOP_CLOSED})

_RANK = {S.PENDING: 0, S.ACCEPTED: 1, S.OUTREACH_INITIATED: 2, S.DECLINED: 3, S.LOOP_CLOSED: 4}


def status_at(assignment: Assignment) -> StatusEntry:
    """Where an assignment stands: its entries in date order, folded through FOLLOWS."""
    current, *later = assignment.statuses
    for entry in later:
        if entry.status in FOLLOWS[current.status]:
            current = entry
    return current


def in_whose_span(on: date, assignments: Sequence[Assignment]) -> Assignment:
    """The one of a provider's assignments that a date speaks of: the newest made by then.

    The first reaches back before its own date: a plan may record late what its provider began.
    """
    return next((a for a in reversed(assignments) if a.on <= on), assignments[0])


def with_entry(assignment: Assignment, entry: StatusEntry) -> Assignment:
    """The assignment with one more entry, at its place by date."""
    statuses = tuple(sorted((*assignment.statuses, entry), key=_in_time))
    return replace(assignment, statuses=statuses)


def has_ended(assignment: Assignment) -> bool:
    """Whether its provider has declined or closed it."""
    return status_at(assignment).status in _ENDING


def ended_by_plan(assignment: Assignment, why: str) -> Assignment:
    """Marked as taken away by the plan, unless it was before or its provider has ended it."""
    if assignment.ended or has_ended(assignment):
        return assignment
    return replace(assignment, ended=why)


def is_said_before(act: Assign, assignments: Sequence[Assignment], *, closed: bool) -> bool:
    """Whether this assigning says nothing new: the provider has it, or was given it that very day.

    A provider that is assigned on the day of its decline or later is asked anew.
    """
    for assignment in assignments:
        provider, newest = assignment.provider, assignment is assignments[-1]
        if not (provider.is_same_as(act.provider) or provider == act.provider):
            continue
        if newest and not assignment.ended and not has_ended(assignment):
            return True
        since = status_at(assignment).on if newest else assignments[-1].on
        if assignment.on == act.on and (closed or act.on < since):
            return True
    return False


def why_not_moved(before: StatusEntry, entry: StatusEntry) -> str:
    """The flag of an entry that leaves the assignment where it stood before."""
    if entry.on < before.on:
        return "late"
    if before.status is S.LOOP_CLOSED:
        return "after-closure"  # of this assignment; the loop may be open still
    return "repeated" if entry.status is before.status else "out-of-order"


def mermaid() -> str:
    """The diagram of referral statuses, drawn from FOLLOWS."""
    lines = ["stateDiagram-v2", "    [*] --> pending: authorized and assigned"]
    for status, followers in FOLLOWS.items():
        lines += [
            f"    {_node(status)} --> {_node(follower)}"
            for follower in sorted(followers, key=lambda s: _RANK[s])
        ]
    lines.append("    declined --> pending: assigned to another provider")
    lines.append("    loop_closed --> [*]")
    return "\n".join(lines) + "\n"


def _in_time(entry: StatusEntry) -> tuple[date, int]:
    return entry.on, _RANK[entry.status]


def _node(status: ReferralStatus) -> str:
    return status.value.replace("-", "_")
