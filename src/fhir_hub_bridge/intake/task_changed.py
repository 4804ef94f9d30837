"""A client's update of a tracked Task: who may make it, from which version, along which step.

Before: `receive_fhir`. After: `mapping.task_change` reads it, `record_referral` records it.
"""

from __future__ import annotations

from fhir_hub_bridge.errors import Conflict, RuleBroken
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import references_in
from fhir_hub_bridge.fhir.task_states import (
    REQUESTER,
    TARGET,
    can_transition,
    check_transition,
    legal_path,
    normalised,
)
from fhir_hub_bridge.intake.fhir_work import FhirWork, check_version
from fhir_hub_bridge.intake.record_referral import Given, resource_ids
from fhir_hub_bridge.mapping.task_change import TaskChange, read_change
from fhir_hub_bridge.referral.model import Assign, Decide, Party, Referral, ReferralUpdate
from fhir_hub_bridge.store.referrals import StoredReferral, load
from fhir_hub_bridge.store.resources import Stored, read, unstamped


def change_task(
    work: FhirWork,
    entry: Entry,
    incoming: Json,
    stored: Stored,
    *,
    only: bool,
    steps_missed: bool = False,
) -> None:
    """Record what this update of a tracked Task says. With `only` all that is new goes with it.

    `steps_missed`: it was seen after several steps, so that any legal path to where it stands will
    do.

    Raises VersionConflict, Conflict for an old copy that would undo something, RuleBroken.
    """
    reference = f"Task/{entry.id}"
    referral = load(work.conn, stored.referral_id, lock=True)
    stored = read(work.conn, "Task", stored.id)  # as it is now that the lock is held
    check_version(entry, stored.version)
    before, after = unstamped(stored.parsed()), unstamped(incoming)
    provider = _provider_of(stored.id, referral)
    is_old_copy = _is_old_copy(entry, incoming, stored)
    roles = _roles(work, provider=provider, referral=referral.referral)
    _check_step(
        roles,
        old=str(before["status"]),
        new=normalised(str(after["status"])),
        who=str(work.caller.partner or "an unknown party"),
        is_old_copy=is_old_copy,
        steps_missed=steps_missed,
    )
    _check_new_owner(work, before, after, plan=referral.referral.plan)
    by_requester = TARGET not in roles
    change = read_change(
        before, after, provider=provider, reading=work.reading(), by_requester=by_requester
    )
    if is_old_copy and _may_undo(change):
        raise _moved_on()
    sent_along = {text for text in references_in(after) if text in work.sent}
    given = Given(
        work.taken(None if only else sent_along),
        edited={reference: change.base},
        claim_response=change.claim_response,
    )
    # who stands in for a requester without a client of its own says what that one said
    stands_in = _stands_in(work, referral.referral) and provider is None and by_requester
    by = referral.referral.requester if stands_in else work.caller
    update = ReferralUpdate(work.told(by), change.acts)
    work.record(update, referral, given, salt=entry.id or "")
    work.versions.setdefault(reference, stored.version)


def _check_new_owner(work: FhirWork, before: Json, after: Json, *, plan: Party) -> None:
    """An open call is claimed by its plan, or by a hub that acts for the plan.

    A provider does not claim: the plan decides and assigns first.
    """
    if "owner" in before or "owner" not in after:
        return
    owner = work.party(after["owner"])
    partner = work.partner(owner)
    acts_for = partner.acts_for if partner else ()
    if not (plan.is_named and owner.is_same_as(plan)) and plan.partner not in acts_for:
        message = "The owner of this Task is its plan, or a hub that acts for the plan."
        raise RuleBroken("owner-no-plan", message, place="Task.owner")


def _is_old_copy(entry: Entry, incoming: Json, stored: Stored) -> bool:
    """Whether the body was made from an older version, and nobody asked for a check of that."""
    seen = str(incoming.get("meta", {}).get("versionId", ""))
    return entry.if_match is None and bool(seen) and seen != str(stored.version)


def _may_undo(change: TaskChange) -> bool:
    """An old copy holds the decision and the provider of its day."""
    return any(isinstance(act, Decide | Assign) for act in change.acts)


def _moved_on() -> Conflict:
    return Conflict("The Task has moved on since this copy of it was read.")


def _check_step(
    roles: list[str], *, old: str, new: str, who: str, is_old_copy: bool, steps_missed: bool
) -> None:
    """The caller must stand on a side of this Task; a step must be drawn, and that side's."""
    if not roles:
        raise RuleBroken("wrong-party", f"{who} may not change this Task.", place="Task.status")
    if old == new:
        return
    if new == "entered-in-error":
        message = f"A referral is not undone as {new}: its requester takes it back as cancelled."
        raise RuleBroken("task-transition", message, place="Task.status")
    if steps_missed and TARGET in roles and legal_path(old, new):
        return
    if any(can_transition(old, new, by=role) for role in roles):
        return
    if is_old_copy:
        raise _moved_on()
    check_transition(old, new, by=roles[0])


def _roles(work: FhirWork, *, provider: Party | None, referral: Referral) -> list[str]:
    """The sides of this Task on which the caller stands.

    The operator stands in for a requester that is not registered: that has no client of its own.
    """
    mine = work.partner(work.caller)

    def stands_for(party: Party) -> bool:
        return party.is_same_as(work.caller) or (
            mine is not None and party.partner is not None and party.partner in mine.acts_for
        )

    if provider is None:
        requester = work.caller if _stands_in(work, referral) else referral.requester
        sides = [(TARGET, referral.plan), (REQUESTER, requester)]
    else:
        sides = [(TARGET, provider), (TARGET, referral.plan), (REQUESTER, referral.plan)]
    return [role for role, party in sides if stands_for(party)]


def _stands_in(work: FhirWork, referral: Referral) -> bool:
    return work.caller.partner == work.recording.operator_id and not referral.requester.partner


def _provider_of(task_id: str, stored: StoredReferral) -> Party | None:
    """The provider whose Task this is; None for the plan's Task."""
    for assignment in resource_ids(stored).assignments:
        if assignment.task == task_id:
            return stored.referral.assignments[assignment.number - 1].provider
    return None
