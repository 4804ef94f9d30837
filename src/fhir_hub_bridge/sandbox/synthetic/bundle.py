"""A referral as the transaction Bundle that an EHR posts: Patient, ServiceRequest, Task.

Shape of HL7 SDOH Clinical Care's referral; http://hl7.org/fhir/us/sdoh-clinicalcare
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fhir_hub_bridge.sandbox.synthetic.partners import UNREGISTERED
from fhir_hub_bridge.sandbox.synthetic.people import Member
from fhir_hub_bridge.sandbox.synthetic.services import SERVICES
from fhir_hub_bridge.sandbox.synthetic.story import CastEntry

JsonObject = dict[str, Any]

# A stranger knows these from the published guide.
CANONICAL = "https://fhir-hub-bridge.example/fhir"
CIN_SYSTEM = f"{CANONICAL}/NamingSystem/medi-cal-cin"
SERVICE_SYSTEM = f"{CANONICAL}/CodeSystem/clr-service"
HCPCS_SYSTEM = "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
NPI_SYSTEM = "http://hl7.org/fhir/sid/us-npi"
_TEST_DATA = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
_PLACER = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "PLAC"}


def referral_bundle(
    entry: CastEntry,
    *,
    plan: str = "golden-plan",
    organization_ids: Mapping[str, str] | None = None,
) -> JsonObject:
    """The Bundle for one referral; the same entry gives the same bytes.

    `plan` owns the Task. `organization_ids` maps partner ids to the ids of their Organizations on
    the bridge where these differ. A self-referral has the Patient as the ServiceRequest's
    requester and the plan as the Task's; an unregistered requester goes by its NPI.
    """
    ids = organization_ids or {}
    owner = _organization(ids.get(plan, plan))
    patient, request, task = (_urn(entry, kind) for kind in ("Patient", "ServiceRequest", "Task"))
    match entry.requester:
        case "member":
            asked_by, requester = {"reference": patient}, owner
        case "unregistered":
            npi = {"system": NPI_SYSTEM, "value": UNREGISTERED.npi}
            requester = {"identifier": npi, "display": UNREGISTERED.name}
            asked_by = requester
        case partner:
            requester = _organization(ids.get(partner, partner))
            asked_by = requester
    # No zone database is asked: the offset is the one of California's winter.
    authored = f"{entry.referred_on.isoformat()}T10:00:00-08:00"
    shared: JsonObject = {
        "meta": {"tag": [_TEST_DATA]},
        "identifier": [
            {
                "type": {"coding": [_PLACER]},
                "system": entry.identifier_system,
                "value": entry.identifier,
            }
        ],
        "intent": "order",
        "authoredOn": authored,
    }
    service_request = {
        "resourceType": "ServiceRequest",
        **shared,
        "status": "active",
        "code": _service_code(entry),
        "subject": {"reference": patient},
        "requester": asked_by,
    }
    fulfil = {"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill"}
    order = {
        "resourceType": "Task",
        **shared,
        "status": "requested",
        "code": {"coding": [fulfil]},
        "focus": {"reference": request},
        "for": {"reference": patient},
        "requester": requester,
        "owner": owner,
    }
    resources = {patient: _patient(entry.member), request: service_request, task: order}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": urn,
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]},
            }
            for urn, resource in resources.items()
        ],
    }


def _patient(member: Member) -> JsonObject:
    return {
        "resourceType": "Patient",
        "meta": {"tag": [_TEST_DATA]},
        "identifier": [{"system": CIN_SYSTEM, "value": member.cin}],
        "name": [{"use": "official", "family": member.family, "given": [member.given]}],
        "gender": member.gender,
        "birthDate": member.birth_on.isoformat(),
        "telecom": [{"system": "phone", "value": member.phone}],
        "address": [
            {
                "line": [member.street],
                "city": member.city,
                "state": member.state,
                "postalCode": member.postal_code,
            }
        ],
    }


def _service_code(entry: CastEntry) -> JsonObject:
    """Our code for the service; every third EHR record carries the billing code beside it."""
    service = SERVICES[entry.service]
    coding = [{"system": SERVICE_SYSTEM, "code": entry.service, "display": service.label}]
    if service.hcpcs and int(entry.identifier.removeprefix("R-")) % 3 == 0:
        coding.append({"system": HCPCS_SYSTEM, "code": service.hcpcs})
    return {"coding": coding, "text": service.label}


def _organization(id_: str) -> JsonObject:
    return {"reference": f"Organization/{id_}"}


def _urn(entry: CastEntry, kind: str) -> str:
    name = f"{entry.identifier_system}|{entry.identifier}|{kind}"
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn
