"""A referral's events as FHIR: SR1 and Task1 of the plan, SR2 and Task2 of each provider.

Each event writes the versions it means, along the shortest legal path of Task.status; steps that
nobody reported, and a referral that nobody made, are tagged `inferred`. On a Task that a client
wrote only the elements that the rules own are changed. Table: docs/reference/clr-to-fhir.md;
SDOHCC 3.0.0 refer-1, refer-2.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, format_instant
from fhir_hub_bridge.fhir.task_states import TERMINAL, legal_path
from fhir_hub_bridge.mapping.authorization_to_fhir import claim_response, decision_outputs
from fhir_hub_bridge.mapping.codings import (
    business_status,
    code_in,
    output_type,
    status_reason,
)
from fhir_hub_bridge.mapping.parties_to_fhir import reference_to
from fhir_hub_bridge.mapping.referral_resources import (
    AssignmentIds,
    ResourceIds,
    Translating,
    amended_request,
    coverage,
    patient,
    plan_task,
    provider_request,
    provider_task,
    service_request,
)
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.mapping.status_to_task import task_status
from fhir_hub_bridge.referral.lifecycle import closes_loop, is_authorized
from fhir_hub_bridge.referral.model import (
    Amend,
    Assign,
    Decide,
    Event,
    EventKind,
    Refer,
    Referral,
    ReferralStatus,
    Report,
)

__all__ = ["AssignmentIds", "ResourceIds", "Translating", "translate"]

S = ReferralStatus


def translate(
    referral: Referral,
    events: tuple[Event, ...],
    *,
    ids: ResourceIds,
    sheet: Sheet,
    by: Translating,
) -> ResourceIds:
    """Put on the sheet what these events of one act mean; give back the ids, new ones included.

    `referral` is as it stands after them. Raises RuleBroken where no legal Task.status path exists.
    """
    for event in events:
        match event.kind, event.act:
            case EventKind.REFERRAL_RECEIVED, Refer() as refer:
                ids = _received(referral, refer, ids=ids, sheet=sheet, by=by)
            case EventKind.AUTHORIZATION_DECIDED, Decide() as decide:
                if event.moved:
                    _decided(referral, decide, ids=ids, sheet=sheet, by=by)
            case EventKind.PROVIDER_ASSIGNED, Assign() as assign:
                ids = _assigned(referral, assign, ids=ids, sheet=sheet, by=by)
            case EventKind.STATUS_REPORTED, Report() as report:
                if event.moved and event.assignment is not None:
                    copies = ids.of_assignment(event.assignment)
                    _reported(report, copies, ids=ids, sheet=sheet, by=by)
            case EventKind.REFERRAL_AMENDED, Amend():
                _amended(referral, ids=ids, sheet=sheet, by=by)
            case EventKind.LOOP_CLOSED, _:
                _closed(referral, ids=ids, sheet=sheet, by=by)
            case _:
                pass
    return ids


def _received(
    referral: Referral, refer: Refer, *, ids: ResourceIds, sheet: Sheet, by: Translating
) -> ResourceIds:
    """A client's own resources stay as sent; a file's row becomes Patient, SR1 and Task1."""
    if not ids.patient:
        ids = replace(ids, patient=by.next_id())
        sheet.put(patient(ids.patient, refer.member))
    if refer.plan.is_named and refer.member.cin and not ids.coverage:
        ids = replace(ids, coverage=by.next_id())
        sheet.put(coverage(ids, referral))
    if not ids.service_request:
        ids = replace(ids, service_request=by.next_id())
        sheet.put(service_request(ids, referral, by), inferred=referral.inferred)
    if not ids.task:
        ids = replace(ids, task=by.next_id())
        sheet.put(plan_task(ids, referral, by), inferred=referral.inferred)
    return ids


def _decided(
    referral: Referral, decide: Decide, *, ids: ResourceIds, sheet: Sheet, by: Translating
) -> None:
    row = by.rulebook.authorization_status(decide.status)
    reference = f"Task/{ids.task}"
    given = by.claim_response
    if not (given and sheet.has(given)):
        response = claim_response(
            by.next_id(), decide, referral=referral, row=row, patient=ids.patient
        )
        sheet.put(response)
        given = f"ClaimResponse/{response['id']}"
    outputs = _outputs_without(sheet.now(reference), "authorization-decision")
    changes: dict[str, Any] = {"output": [*outputs, *decision_outputs(row, given)]}
    if is_authorized(referral, by.rulebook) and "businessStatus" not in sheet.now(reference):
        changes["businessStatus"] = business_status(S.PENDING, decide.on)
    current = sheet.now(reference)["status"]
    # a closing decision moves the Task with its closure; others only up to where they stand
    ahead = row.task_status if not row.closes_with and current in ("draft", "requested") else ""
    _move(sheet, reference, ahead or current, changes, by)


def _assigned(
    referral: Referral, assign: Assign, *, ids: ResourceIds, sheet: Sheet, by: Translating
) -> ResourceIds:
    for earlier in referral.assignments[:-1]:
        _withdraw(ids.of_assignment(earlier.number), "Assigned to another provider", sheet, by)
    assignment = referral.assignments[-1]
    copies = AssignmentIds(assignment.number, by.next_id(), by.next_id())
    ids = replace(ids, assignments=(*ids.assignments, copies))
    parent, original = (
        sheet.now(f"Task/{ids.task}"),
        sheet.now(f"ServiceRequest/{ids.service_request}"),
    )
    sheet.put(provider_request(copies, referral, assign, ids=ids, original=original, by=by))
    sheet.put(provider_task(copies, referral, assign, ids=ids, parent=parent, by=by))
    output = {
        "type": output_type("assigned-provider"),
        "valueReference": reference_to(assign.provider),
    }
    changes = {
        "output": [*_outputs_without(parent, "assigned-provider"), output],
        "businessStatus": business_status(S.PENDING, assign.on),
        "executionPeriod": {"start": assign.on.isoformat()} | parent.get("executionPeriod", {}),
    }
    _move(sheet, f"Task/{ids.task}", "in-progress", changes, by)
    return ids


def _reported(
    report: Report, copies: AssignmentIds, *, ids: ResourceIds, sheet: Sheet, by: Translating
) -> None:
    """The provider's Task says it; the plan's Task mirrors it while the loop stays open."""
    # a Task that ended with a decline says no more, whatever its provider tells after that
    if sheet.now(f"Task/{copies.task}")["status"] not in TERMINAL:
        _reported_on(copies, report, sheet=sheet, by=by)
    if closes_loop(report, by.rulebook):
        return
    # a provider that closes without closing the loop has, for the plan, declined
    mirrored = S.DECLINED if report.status is S.LOOP_CLOSED else report.status
    parent = f"Task/{ids.task}"
    mirror = {"businessStatus": business_status(mirrored, report.on)}
    _move(sheet, parent, sheet.now(parent)["status"], mirror, by)


def _reported_on(copies: AssignmentIds, report: Report, *, sheet: Sheet, by: Translating) -> None:
    reference = f"Task/{copies.task}"
    task = sheet.now(reference)
    closing = by.rulebook.closure_reason(report.reason) if report.reason else None
    served = closing is not None and closing.served
    target = task_status(
        task["status"], report.status, closing=closing.task_status if closing else ""
    )
    changes: dict[str, Any] = {"businessStatus": business_status(report.status, report.on)}
    if closing:
        changes["statusReason"] = status_reason(closing, report.text)
        if report.plan_code:
            changes["statusReason"]["coding"].append({"code": report.plan_code})
    elif report.status is S.DECLINED:
        changes["statusReason"] = {"text": report.text or "The provider cannot take this referral"}
    if target in TERMINAL:
        changes["executionPeriod"] = _ended(task, report.on)
    if served:
        changes["output"] = [*task.get("output", []), _activity(sheet, copies)]
    _move(sheet, reference, target, changes, by)
    if target in TERMINAL:
        _end_request(copies.service_request, served=served, sheet=sheet)


def _amended(referral: Referral, *, ids: ResourceIds, sheet: Sheet, by: Translating) -> None:
    """What the sender changed, and each open provider's copy of it; its Task says since when."""
    for reference in sheet.edited:
        sheet.put(sheet.now(reference))
    original = sheet.now(f"ServiceRequest/{ids.service_request}")
    for copies in ids.assignments:
        task = sheet.now(f"Task/{copies.task}")
        if task["status"] in TERMINAL:
            continue
        request = sheet.now(f"ServiceRequest/{copies.service_request}")
        sheet.put(amended_request(request, referral, original=original, by=by))
        sheet.put({**task, "lastModified": format_instant(by.now)})


def _closed(referral: Referral, *, ids: ResourceIds, sheet: Sheet, by: Translating) -> None:
    closure = referral.closure
    if closure is None:
        return
    reason = by.rulebook.closure_reason(closure.reason)
    for assignment in referral.assignments:
        _withdraw(ids.of_assignment(assignment.number), reason.label, sheet, by)
    reference = f"Task/{ids.task}"
    changes = {
        "businessStatus": business_status(S.LOOP_CLOSED, closure.on),
        # DHCS's code and label only: free text and plan codes stay on the provider's Task
        "statusReason": status_reason(reason),
        "executionPeriod": _ended(sheet.now(reference), closure.on),
    }
    _move(sheet, reference, reason.task_status, changes, by)
    if _is_ours(sheet.now(f"ServiceRequest/{ids.service_request}"), referral):
        request, inferred = ids.service_request, referral.inferred
        _end_request(request, served=reason.served, sheet=sheet, inferred=inferred)


def _move(
    sheet: Sheet, reference: str, target: str, changes: dict[str, Any], by: Translating
) -> None:
    """The versions from where the Task stands to `target`; the last one carries the changes."""
    task = sheet.now(reference)
    stamp = {"lastModified": format_instant(by.now)}
    if target != task["status"]:
        *between, _ = legal_path(task["status"], target)
        for step in between:
            sheet.put(
                {**_without_reason(sheet.now(reference)), "status": step, **stamp}, inferred=True
            )
    base = _without_reason(sheet.now(reference)) if target != task["status"] else task
    after = {**base, **changes, "status": target}
    if after != sheet.now(reference):
        sheet.put({**after, **stamp})


def _without_reason(task: Json) -> Json:
    """statusReason speaks of the current status only (SDOHCC Task for Referral Management)."""
    return {k: v for k, v in task.items() if k != "statusReason"}


def _withdraw(copies: AssignmentIds, why: str, sheet: Sheet, by: Translating) -> None:
    """The plan takes an assignment back: its Task is cancelled, its request revoked."""
    reference = f"Task/{copies.task}"
    if sheet.now(reference)["status"] in TERMINAL:
        return
    _move(sheet, reference, "cancelled", {"statusReason": {"text": why}}, by)
    _end_request(copies.service_request, served=False, sheet=sheet)


def _end_request(
    service_request: str, *, served: bool, sheet: Sheet, inferred: bool = False
) -> None:
    request = sheet.now(f"ServiceRequest/{service_request}")
    if request["status"] == "active":
        ended = {**request, "status": "completed" if served else "revoked"}
        sheet.put(ended, inferred=inferred)


def _is_ours(request: Json, referral: Referral) -> bool:
    """Whether we wrote this ServiceRequest ourselves (from a file): others' are never changed."""
    return any(
        i.get("system") == canonical.REFERRAL_ID and i.get("value") == referral.id
        for i in request.get("identifier", [])
    )


def _activity(sheet: Sheet, copies: AssignmentIds) -> Json:
    """SDOHCC's resulting activity: the service as a code; no Procedure is invented from a file."""
    code = sheet.now(f"ServiceRequest/{copies.service_request}")["code"]
    coding = {"system": canonical.SDOHCC_TEMPORARY_CODES, "code": "resulting-activity"}
    return {"type": {"coding": [coding]}, "valueCodeableConcept": code}


def _outputs_without(task: Json, code: str) -> list[Json]:
    return [
        output
        for output in task.get("output", [])
        if code_in(output.get("type"), canonical.OUTPUT_TYPE) != code
    ]


def _ended(task: Json, on: date) -> Json:
    period = {**task.get("executionPeriod", {}), "end": on.isoformat()}
    return period if period.get("start", "") <= period["end"] else {"end": period["end"]}
