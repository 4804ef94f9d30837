"""A Task that asks for fulfilment opens a referral: for which plan, by whom, said before or not.

A requester nobody knows never blocks a referral; an owner nobody knows does. Before:
`receive_fhir`. After: `record_referral`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fhir_hub_bridge.errors import Conflict, Issue, ResourceRejected, RuleBroken
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.reference import references_in
from fhir_hub_bridge.fhir.task_states import NEW, REQUESTER, check_transition, normalised
from fhir_hub_bridge.intake.fhir_request import requester_keys
from fhir_hub_bridge.intake.fhir_work import FhirWork
from fhir_hub_bridge.intake.record_referral import Given
from fhir_hub_bridge.mapping.fhir_to_referral import is_fulfilment, read_referral
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds
from fhir_hub_bridge.referral.model import Party, Refer, ReferralUpdate
from fhir_hub_bridge.referral.parties import registered
from fhir_hub_bridge.store.referrals import load, party_key
from fhir_hub_bridge.store.repeats import FirstAnswer, RepeatKey, first_answer
from fhir_hub_bridge.store.resources import Stored, unstamped


def opens_referral(work: FhirWork, entry: Entry) -> bool:
    """Whether this entry's Task is to be tracked from now on: its owner or requester is a partner.

    Without an owner the operator owns it. An update may make a Task so that was stored as sent.
    """
    task = entry.resource
    if entry.type != "Task" or task is None or not is_fulfilment(task):
        return False
    if task.get("status") == "draft":
        return False  # not asked for yet
    if entry.method == "PUT":
        stored = work.stored(f"Task/{entry.id}")
        if stored is None or stored.referral_id:
            return False
    return any(party.partner for party in (_owner(work, task), work.party(task.get("requester"))))


def referral_keys(work: FhirWork, opening: Sequence[Entry]) -> list[list[RepeatKey]]:
    """The names that its requester gave each referral of this request; maybe none."""
    keys = [_keys(work, entry.resource) for entry in opening if entry.resource is not None]
    every = [key for one in keys for key in set(one)]
    if len(set(every)) < len(every):
        message = "Two Tasks of this request are for one and the same referral."
        raise ResourceRejected(issues=[Issue("Bundle.entry", message, rule="duplicate-referral")])
    return keys


def answered_before(
    work: FhirWork, opening: Sequence[Entry], keys: Sequence[Sequence[RepeatKey]]
) -> FirstAnswer | None:
    """The first answer where all these referrals were received by one earlier request.

    Raises Conflict where only some were, or where they came by another interaction.
    """
    answers = [first_answer(work.conn, one, now=work.recording.now) for one in keys]
    first = next((answer for answer in answers if answer is not None), None)
    if first is None:
        return None
    kind = parse_json(first.body).get("resourceType")
    other = kind != (work.asked.type or "Bundle") or any(e.method == "PUT" for e in opening)
    if other or any(answer != first for answer in answers):
        raise Conflict("A referral of this requester with this identifier was received before.")
    return first


def open_referral(work: FhirWork, entry: Entry, *, stored: Stored | None, only: bool) -> None:
    """Record the referral of a Task that is new, or was `stored` as sent before.

    With `only` all that is new here belongs to it.
    """
    task = entry.resource
    assert task is not None  # noqa: S101  # opens_referral saw it
    plan = _plan(work, task)
    requester = work.party(task.get("requester"))
    _check_requester(work, requester)
    status = normalised(str(task["status"]))
    check_transition(NEW, status, by=REQUESTER)
    if work.local(str(task["focus"]["reference"])) is None:
        message = "It lies on no server of a partner registered here."
        raise ResourceRejected(issues=[Issue("Task.focus", message, rule="foreign-reference")])
    refer = read_referral(task, plan=plan, reading=work.reading())
    request = work.resource(str(task["focus"]["reference"])) or {}
    _check_references(work, task, request)
    refer = replace(refer, clr_id=refer.clr_id or _clr_id_replaced(work, refer))
    ids = ResourceIds(
        patient=_id(work, str(request["subject"]["reference"])),
        service_request=_id(work, str(task["focus"]["reference"])),
        task=str(task["id"]),
        coverage=_coverage(work, request),
    )
    _hold_what_it_rests_on(work, ids)
    mine = set(ids.references())
    taken = work.taken(None if only else mine)
    # `received`, which older systems send, is kept as the `requested` it means
    own = {**unstamped(task), "status": status}
    reference = f"Task/{ids.task}"
    given = Given(
        tuple(own if r.get("id") == ids.task else r for r in taken),
        edited={reference: own} if stored else {},
        ids=ids,
    )
    told = work.told(work.caller if work.asked.caller else refer.requester)
    found = {reference: stored} if stored else {}
    work.record(ReferralUpdate(told, (refer,)), None, given, salt=entry.id or "", found=found)


def _hold_what_it_rests_on(work: FhirWork, ids: ResourceIds) -> None:
    """Whoever deletes the stored person or request now waits, and then sees the referral."""
    for type_, id_ in (("Patient", ids.patient), ("ServiceRequest", ids.service_request)):
        if f"{type_}/{id_}" not in work.sent and work.held(type_, id_) is None:
            message = "It points at what is not here."
            raise ResourceRejected(issues=[Issue(type_, message, rule="dangling-reference")])


def _keys(work: FhirWork, task: Json) -> list[RepeatKey]:
    request = work.resource(str(task["focus"]["reference"])) or {}
    requester = work.party(task.get("requester") or request.get("requester"))
    keys = requester_keys(request, who=_names(work, requester))
    return [RepeatKey(key) for key in dict.fromkeys(keys)]


def _names(work: FhirWork, requester: Party) -> list[str]:
    """Each name under which a requester is known, or was before it was registered.

    A TIN that several partners share is none; a name alone counts where there is nothing better.
    """
    partner = work.partner(requester)
    known = [requester, partner.party] if partner else [requester]
    tins = {p.tin for p in known if sum(p.tin == other.tin for other in work.partners) <= 1}
    names = [
        *([str(partner.id)] if partner else []),
        *(f"npi:{npi}" for npi in sorted({p.npi for p in known if p.npi})),
        *(f"tin:{tin}" for tin in sorted(tins) if tin),
    ]
    return names or [name for name in [party_key(requester)] if name]


def _plan(work: FhirWork, task: Json) -> Party:
    """The plan: the Task's owner, or the one plan that the owning hub acts for.

    Without an owner it is the operator's. Where no one plan can be made out the referral is held.
    """
    owner = _owner(work, task)
    if task.get("owner") and not owner.partner:
        raise _refused("owner-unknown", "The owner is not registered here.")
    partner = work.partner(owner)
    if partner is None or partner.kind == "managed-care-plan":
        return owner
    if partner.kind != "hub" and task.get("owner"):
        raise _refused("owner-no-plan", "The owner is neither a plan nor a hub acting for one.")
    plans = [p for p in work.partners if p.id in partner.acts_for and p.kind == "managed-care-plan"]
    return plans[0].party if len(plans) == 1 else Party()


def _owner(work: FhirWork, task: Json) -> Party:
    if task.get("owner"):
        return work.party(task["owner"])
    operator = registered(work.recording.operator, work.partners)
    return operator.party if operator else Party()


def _refused(rule: str, message: str) -> ResourceRejected:
    return ResourceRejected(issues=[Issue("Task.owner", message, rule=rule)])


def _check_requester(work: FhirWork, requester: Party) -> None:
    """A caller that names itself refers for itself or for those it acts for."""
    if not work.asked.caller or work.asked.caller == work.recording.operator:
        return
    mine = work.partner(work.caller)
    own = (work.caller.partner, *(mine.acts_for if mine else ()))
    if requester.partner and requester.partner not in own:
        message = "The requester is not the caller's organisation."
        raise RuleBroken("wrong-party", message, place="Task.requester")


def _check_references(work: FhirWork, *resources: Json) -> None:
    """What a referral points at here must be here; but for a requester that nobody knows."""
    for resource in resources:
        asked = {k: v for k, v in resource.items() if k != "requester"}
        for text in references_in(asked):
            here = work.local(text)
            known = here is None or any(f"Organization/{p.id}" == text for p in work.partners)
            if not known and work.resource(text) is None:
                place, message = str(resource["resourceType"]), "It points at what is not here."
                raise ResourceRejected(issues=[Issue(place, message, rule="dangling-reference")])


def _clr_id_replaced(work: FhirWork, refer: Refer) -> str:
    """The CLR id of the requester's own earlier referral that this one replaces, or ""."""
    earlier = work.stored(refer.replaces) if refer.replaces else None
    if earlier is None or not earlier.referral_id:
        return ""
    before = load(work.conn, earlier.referral_id).referral
    return before.clr_id if before.requester.is_same_as(refer.requester) else ""


def _coverage(work: FhirWork, request: Json) -> str:
    for insurance in request.get("insurance", []):
        here = work.local(str(insurance.get("reference", "")))
        if here is not None and here.type == "Coverage":
            return here.id
    return ""


def _id(work: FhirWork, text: str) -> str:
    here = work.local(text)
    return here.id if here else ""
