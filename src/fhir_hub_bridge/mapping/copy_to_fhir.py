"""A provider's copy of a referral, as the transaction Bundle that its server takes.

Patient, SR2 and Task2 by conditional update on our identifiers: sent twice it changes nothing.
Everything in it is on a list of what a provider may see; nothing is passed on whole. Beside:
`copy_to_row`, the same for a drop folder. After: `intake.copies_frozen`.
SDOHCC 3.0.0 refer-1, refer-2; https://hl7.org/fhir/R4/http.html#trules
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import NAMESPACE_URL, uuid5

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import local_references, rewrite_references, without_contained
from fhir_hub_bridge.mapping.codings import code_in, concept
from fhir_hub_bridge.mapping.parties_to_fhir import outside_reference_to
from fhir_hub_bridge.mapping.referral_resources import CARRIED
from fhir_hub_bridge.referral.disclosure import ProviderView
from fhir_hub_bridge.referral.model import Party

PERSON: Final = (
    *("name", "telecom", "gender", "birthDate", "address", "communication"),
    *("deceasedBoolean", "deceasedDateTime"),
)
"""What a provider sees of the Patient, besides the CIN: who it is and how to reach her."""

_REQUEST: Final = (*("requisition", "status", "intent", "category", "code", "authoredOn"), *CARRIED)
_TASK: Final = (
    *("groupIdentifier", "status", "businessStatus", "intent", "priority", "code"),
    *("authoredOn", "lastModified", "executionPeriod"),
)


@dataclass(frozen=True, slots=True)
class CopyContent:
    """What one copy says; the resources are ours as stored."""

    id: str
    change: Literal["new", "changed", "ended"]
    view: ProviderView
    patient: Json
    request: Json  # SR2
    task: Json  # Task2
    plan: Party
    provider: Party
    cin_systems: frozenset[str]
    with_task: bool = True  # else the Task, which is theirs to move, is left as they have it


def copy_message(content: CopyContent, *, base_url: str, by_id: bool) -> Json:
    """The transaction Bundle.

    `by_id` for a server that takes no transaction and gets each resource under our id: references
    are then by that id, else by the Bundle's own names.
    """
    names = {
        reference: reference if by_id else f"urn:uuid:{uuid5(NAMESPACE_URL, reference)}"
        for reference in map(_name, (content.patient, content.request, content.task))
    }
    resources = [
        (canonical.PATIENT_ID, content.patient, _person(content)),
        (canonical.REFERRAL_ID, content.request, _request(content, base_url)),
    ]
    if content.with_task:
        resources.append((canonical.REFERRAL_ID, content.task, _task(content, base_url)))
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                **({} if by_id else {"fullUrl": names[_name(ours)]}),
                "resource": rewrite_references(without_contained(theirs), names),
                "request": {
                    "method": "PUT",
                    "url": f"{ours['resourceType']}?identifier={system}|{ours['id']}",
                },
            }
            for system, ours, theirs in resources
        ],
    }


def known_numbers(content: CopyContent) -> list[Json]:
    """The person's identifiers that a provider may see: the CIN."""
    systems = content.cin_systems | {canonical.MEDI_CAL_CIN}
    return [
        {"system": i["system"], "value": i["value"]}
        for i in content.patient.get("identifier", [])
        if i.get("system") in systems and i.get("value")
    ]


def why_ended(content: CopyContent) -> Json | None:
    """Task.statusReason without plan codes and without anybody's free text."""
    reason = content.task.get("statusReason", {})
    for coding in reason.get("coding", []):
        if coding.get("system") == canonical.CLOSURE_REASON:
            code = code_in(reason, canonical.CLOSURE_REASON)
            return concept(canonical.CLOSURE_REASON, code, str(coding.get("display", code)))
    return {"text": content.view.ended} if content.view.ended else None


def _person(content: CopyContent) -> Json:
    ours = content.patient
    own = {"system": canonical.PATIENT_ID, "value": ours["id"]}
    return {
        "resourceType": "Patient",
        "identifier": [own, *known_numbers(content)],
        **{k: ours[k] for k in PERSON if k in ours},
    }


def _request(content: CopyContent, base_url: str) -> Json:
    ours = content.request
    return _pointing_home(
        {
            "resourceType": "ServiceRequest",
            "identifier": ours["identifier"],
            "basedOn": ours["basedOn"],
            **{k: ours[k] for k in _REQUEST if k in ours},
            "subject": {"reference": _name(content.patient)},
            "requester": outside_reference_to(content.plan),
            "performer": [outside_reference_to(content.provider)],
        },
        content,
        base_url,
    )


def _task(content: CopyContent, base_url: str) -> Json:
    ours, reason = content.task, why_ended(content)
    return _pointing_home(
        {
            "resourceType": "Task",
            "identifier": ours["identifier"],
            "partOf": ours["partOf"],
            **{k: ours[k] for k in _TASK if k in ours},
            **({"statusReason": reason} if reason else {}),
            "focus": {"reference": _name(content.request)},
            "for": {"reference": _name(content.patient)},
            "requester": outside_reference_to(content.plan),
            "owner": outside_reference_to(content.provider),
            **({"input": inputs} if (inputs := _authorization(content.view)) else {}),
        },
        content,
        base_url,
    )


def _authorization(view: ProviderView) -> list[Json]:
    """What the provider works and bills under."""
    inputs: list[Json] = []
    if view.authorization_number:
        name = {"text": "Authorization number"}
        inputs.append({"type": name, "valueString": view.authorization_number})
    period = {"start": view.authorized_from, "end": view.authorized_to}
    if dated := {k: v.isoformat() for k, v in period.items() if v}:
        inputs.append({"type": {"text": "Authorization period"}, "valuePeriod": dated})
    return inputs


def _pointing_home(resource: Json, content: CopyContent, base_url: str) -> Json:
    """What stays here is pointed at absolutely; what is sent along by its name."""
    along = {_name(content.patient), _name(content.request)}
    home = {r: f"{base_url}/{r}" for r in local_references(resource) if r not in along}
    return rewrite_references(resource, home)


def _name(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"
