"""A managed care plan's acts as FHIR: the transaction Bundle that puts Task1 back, changed.

Pure: what the plan was told to do and the Task it read in, the Bundle out; `plan` sends it.
http://hl7.org/fhir/R4/claimresponse.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from fhir_hub_bridge.sandbox.journal import JsonObject

# A stranger knows these from the published guide.
CANONICAL = "https://fhir-hub-bridge.example/fhir"
OUTPUT_TYPES = f"{CANONICAL}/CodeSystem/clr-output-type"
AUTHORIZATION_STATUSES = f"{CANONICAL}/CodeSystem/clr-authorization-status"
REFERRAL_STATUSES = f"{CANONICAL}/CodeSystem/clr-referral-status"
CLOSURE_REASONS = f"{CANONICAL}/CodeSystem/clr-closure-reason"
BASIS_URL = f"{CANONICAL}/StructureDefinition/authorization-basis"
REASON_URL = f"{CANONICAL}/StructureDefinition/authorization-reason"
REASON_SYSTEM = f"{CANONICAL}/CodeSystem/clr-authorization-reason"

_UNDECIDED = {"pending", "deferred"}
_AUTHORIZED = {"approved", "approved-modified"}
_PRESUMPTIVE_DAYS = 30
_AUTHORIZED_DAYS = 180
_TASK_STATUS = {"services-received": "completed"} | dict.fromkeys(
    ("unable-to-reach", "provider-declined", "other"), "failed"
)


class StepError(ValueError):
    """A step of the script that is no act of a plan."""


def act_bundle(
    task: JsonObject, step: Mapping[str, Any], *, plan: str, today: date, uuid: str, if_match: str
) -> JsonObject:
    """The Bundle that does one step on the Task as read.

    `plan` is the id of the plan's Organization on the bridge, `uuid` a new UUID, `if_match` the
    version read. A step's `on` (ISO date) stands for `today` where it has one. Raises StepError.
    """
    on = date.fromisoformat(str(step["on"])) if step.get("on") else today
    match step.get("act"):
        case "decide":
            urn = f"urn:uuid:{uuid}"
            response = _claim_response(task, step, plan=plan, on=on)
            entries = [_entry(response, method="POST", url="ClaimResponse", full_url=urn)]
            changed = _decided(task, status=_word(step, "status"), response=urn)
        case "assign":
            entries = []
            changed = _assigned(task, provider=_word(step, "provider"))
        case "close":
            entries = []
            changed = _closed(task, step, on=on)
        case act:
            raise StepError(f"act={act}: a plan can decide, assign and close.")
    put = _entry(changed, method="PUT", url=f"Task/{task['id']}")
    put["request"]["ifMatch"] = if_match
    return {"resourceType": "Bundle", "type": "transaction", "entry": [*entries, put]}


def business_status(task: JsonObject) -> str:
    """The referral status code in a Task, or "" where it has none."""
    for coding in task.get("businessStatus", {}).get("coding", []):
        if coding.get("system") == REFERRAL_STATUSES:
            return str(coding.get("code", ""))
    return ""


def _claim_response(
    task: JsonObject, step: Mapping[str, Any], *, plan: str, on: date
) -> JsonObject:
    status, basis = _word(step, "status"), str(step.get("basis", "prior"))
    reason = str(step.get("reason_text", ""))
    extensions: list[JsonObject] = [{"url": BASIS_URL, "valueCode": basis}]
    if reason or step.get("reason_code"):
        concept: JsonObject = {"text": reason} if reason else {}
        if step.get("reason_code"):
            concept["coding"] = [{"system": REASON_SYSTEM, "code": str(step["reason_code"])}]
        extensions.append({"url": REASON_URL, "valueCodeableConcept": concept})
    response: JsonObject = {
        "resourceType": "ClaimResponse",
        "extension": extensions,
        "status": "active",
        "type": _coded("http://terminology.hl7.org/CodeSystem/claim-type", "professional"),
        "use": "preauthorization",
        "patient": task["for"],
        "created": on.isoformat(),
        "insurer": {"reference": f"Organization/{plan}"},
        "outcome": "queued" if status in _UNDECIDED else "complete",
    }
    if reason:
        response["disposition"] = reason
    if step.get("number"):
        response["preAuthRef"] = str(step["number"])
    if status in _AUTHORIZED or basis == "presumptive":
        days = _AUTHORIZED_DAYS if status in _AUTHORIZED else _PRESUMPTIVE_DAYS
        end = on + timedelta(days=days)
        response["preAuthPeriod"] = {"start": on.isoformat(), "end": end.isoformat()}
    return response


def _decided(task: JsonObject, *, status: str, response: str) -> JsonObject:
    kind = _coded(OUTPUT_TYPES, "authorization-decision")
    return _with_output(
        task,
        "authorization-decision",
        {"type": kind, "valueCodeableConcept": _coded(AUTHORIZATION_STATUSES, status)},
        {"type": kind, "valueReference": {"reference": response}},
    )


def _assigned(task: JsonObject, *, provider: str) -> JsonObject:
    output = {
        "type": _coded(OUTPUT_TYPES, "assigned-provider"),
        "valueReference": {"reference": f"Organization/{provider}"},
    }
    return _with_output(task, "assigned-provider", output)


def _closed(task: JsonObject, step: Mapping[str, Any], *, on: date) -> JsonObject:
    reason = _word(step, "reason")
    text = str(step.get("text") or step.get("reason_text") or reason)
    return {
        **task,
        "status": str(step.get("task_status") or _TASK_STATUS.get(reason, "cancelled")),
        "businessStatus": _coded(REFERRAL_STATUSES, "loop-closed"),
        "statusReason": {**_coded(CLOSURE_REASONS, reason), "text": text},
        "executionPeriod": {**task.get("executionPeriod", {}), "end": on.isoformat()},
    }


def _with_output(task: JsonObject, kind: str, *outputs: JsonObject) -> JsonObject:
    """The Task with these outputs in place of the ones of this type."""
    others = [o for o in task.get("output", []) if not _is_output(o, kind)]
    return {**task, "output": [*others, *outputs]}


def _is_output(output: JsonObject, kind: str) -> bool:
    codings = output.get("type", {}).get("coding", [])
    return any(c.get("system") == OUTPUT_TYPES and c.get("code") == kind for c in codings)


def _entry(resource: JsonObject, *, method: str, url: str, full_url: str = "") -> JsonObject:
    named: JsonObject = {"fullUrl": full_url} if full_url else {}
    return {**named, "resource": resource, "request": {"method": method, "url": url}}


def _coded(system: str, code: str) -> JsonObject:
    return {"coding": [{"system": system, "code": code}]}


def _word(step: Mapping[str, Any], key: str) -> str:
    value = step.get(key)
    if not isinstance(value, str) or not value:
        raise StepError(f"A step with act={step.get('act')} needs {key}.")
    return value
