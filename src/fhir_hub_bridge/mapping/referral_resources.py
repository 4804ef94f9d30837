"""The resources a referral is made of, as they are first written: SR1, Task1, SR2, Task2 ...

A hub's or plan's own system sends some of them itself; those are never built here. After:
`referral_to_fhir`, which moves them. SDOHCC 3.0.0: ServiceRequest, Task for Referral Management.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, format_instant
from fhir_hub_bridge.fhir.reference import without_contained
from fhir_hub_bridge.mapping.codings import (
    business_status,
    identifier,
    our_identifier,
    service_category,
    service_concept,
)
from fhir_hub_bridge.mapping.fhir_to_referral import service_of
from fhir_hub_bridge.mapping.parties_to_fhir import reference_to
from fhir_hub_bridge.referral.model import Assign, Member, Referral, ReferralStatus
from fhir_hub_bridge.referral.rulebook import Rulebook

CARRIED: Final = (
    *("orderDetail", "supportingInfo", "reasonCode", "reasonReference", "priority", "note"),
    *("occurrenceDateTime", "occurrencePeriod", "occurrenceTiming", "patientInstruction"),
)
"""What of the referrer's request the provider's says as it is: the need and the wishes."""


@dataclass(frozen=True, slots=True)
class AssignmentIds:
    """The provider's copies, of one assignment."""

    number: int
    service_request: str
    task: str


@dataclass(frozen=True, slots=True)
class ResourceIds:
    """The ids of a referral's resources; "" where there is none."""

    patient: str = ""
    service_request: str = ""
    task: str = ""
    coverage: str = ""
    assignments: tuple[AssignmentIds, ...] = ()

    def of_assignment(self, number: int) -> AssignmentIds:
        """The ids of this assignment."""
        return next(a for a in self.assignments if a.number == number)

    def references(self) -> tuple[str, ...]:
        """All of them as `Type/id`."""
        own = (
            ("Patient", self.patient),
            ("ServiceRequest", self.service_request),
            ("Task", self.task),
            ("Coverage", self.coverage),
        )
        theirs = [
            f"{type_}/{id_}"
            for a in self.assignments
            for type_, id_ in (("ServiceRequest", a.service_request), ("Task", a.task))
        ]
        return (*(f"{type_}/{id_}" for type_, id_ in own if id_), *theirs)


@dataclass(frozen=True, slots=True)
class Translating:
    """What a translation needs besides the referral: the rules, the moment, new ids."""

    rulebook: Rulebook
    now: datetime  # aware; becomes Task.lastModified
    next_id: Callable[[], str]
    claim_response: str = ""  # sent along with a decision, `ClaimResponse/id`


def patient(id_: str, member: Member) -> Json:
    """The Patient of a file's row, with what the row says of the person."""
    name = {"family": member.family, "given": [member.given] if member.given else []}
    address = {
        "line": [member.address_line] if member.address_line else [],
        "city": member.city,
        "state": member.state,
        "postalCode": member.postal_code,
    }
    return _clean(
        {
            "resourceType": "Patient",
            "id": id_,
            "identifier": [_cin(member.cin)] if member.cin else [],
            "name": [_clean(name)] if _clean(name) else [],
            "telecom": [{"system": "phone", "value": member.phone}] if member.phone else [],
            "gender": "unknown",  # no file says it, and US Core requires it
            "birthDate": member.birth_date.isoformat() if member.birth_date else "",
            "address": [_clean(address)] if _clean(address) else [],
        }
    )


def coverage(ids: ResourceIds, referral: Referral) -> Json:
    """Which plan covers the person, by the CIN."""
    return {
        "resourceType": "Coverage",
        "id": ids.coverage,
        "status": "active",
        "subscriberId": referral.cin,
        "beneficiary": {"reference": f"Patient/{ids.patient}"},
        "payor": [reference_to(referral.plan)],
    }


def service_request(ids: ResourceIds, referral: Referral, by: Translating) -> Json:
    """SR1 of a referral that a file tells of; without a referrer the plan stands as requester."""
    service = by.rulebook.service(referral.service)
    return _clean(
        {
            "resourceType": "ServiceRequest",
            "id": ids.service_request,
            "identifier": [
                *(identifier(i) for i in referral.identifiers),
                our_identifier("PLAC", canonical.REFERRAL_ID, referral.id),
            ],
            "requisition": {"system": canonical.CLR_ID, "value": referral.clr_id},
            "status": "active",
            "intent": "order",
            "category": service_category(service),
            "code": service_concept(service),
            "subject": {"reference": f"Patient/{ids.patient}"},
            "authoredOn": referral.referred_on.isoformat() if referral.referred_on else "",
            "requester": reference_to(
                referral.requester if referral.requester.is_named else referral.plan
            ),
            "insurance": _insurance(ids),
        }
    )


def plan_task(ids: ResourceIds, referral: Referral, by: Translating) -> Json:
    """Task1 of a referral that a file tells of."""
    requester = referral.requester if referral.requester.is_named else referral.plan
    return _task(
        ids.task,
        referral,
        ids=ids,
        focus=ids.service_request,
        requester=reference_to(requester),
        owner=reference_to(referral.plan),
        authored=referral.referred_on,
        by=by,
    )


def provider_request(
    copies: AssignmentIds,
    referral: Referral,
    assign: Assign,
    *,
    ids: ResourceIds,
    original: Json,
    by: Translating,
) -> Json:
    """SR2: the filler's own order, based on the referrer's; safety wishes travel with it.

    The service is the one referred to, in the referrer's codes while they still mean it.
    """
    return _clean(
        {
            "resourceType": "ServiceRequest",
            "id": copies.service_request,
            "identifier": [our_identifier("FILL", canonical.REFERRAL_ID, copies.service_request)],
            "basedOn": [{"reference": f"ServiceRequest/{ids.service_request}"}],
            "requisition": {"system": canonical.CLR_ID, "value": referral.clr_id},
            "status": "active",
            "intent": "filler-order",
            "category": service_category(by.rulebook.service(referral.service)),
            **_carried(referral, original, by),
            "subject": {"reference": f"Patient/{ids.patient}"},
            "authoredOn": assign.on.isoformat(),
            "requester": reference_to(referral.plan),
            "performer": [reference_to(assign.provider)],
            "insurance": _insurance(ids),
        }
    )


def amended_request(request: Json, referral: Referral, *, original: Json, by: Translating) -> Json:
    """SR2 as it reads after SR1 was amended: what it carries anew, all else its own."""
    own = {k: v for k, v in request.items() if k not in CARRIED}
    return {**own, **_carried(referral, original, by)}


def provider_task(
    copies: AssignmentIds,
    referral: Referral,
    assign: Assign,
    *,
    ids: ResourceIds,
    parent: Json,
    by: Translating,
) -> Json:
    """Task2: the provider's part of Task1."""
    task = _task(
        copies.task,
        referral,
        ids=ids,
        focus=copies.service_request,
        requester=reference_to(referral.plan),
        owner=reference_to(assign.provider),
        authored=assign.on,
        by=by,
    )
    return {
        **task,
        "partOf": [{"reference": f"Task/{ids.task}"}],
        "businessStatus": business_status(ReferralStatus.PENDING, assign.on),
        "priority": parent.get("priority", "routine"),
        "executionPeriod": {"start": assign.on.isoformat()},
    }


def _carried(referral: Referral, original: Json, by: Translating) -> Json:
    service = by.rulebook.service(referral.service)
    unchanged = service_of(original, by.rulebook) == service.code
    return {
        **without_contained({k: original[k] for k in CARRIED if k in original}),
        "code": original["code"] if unchanged else service_concept(service),
    }


def _task(
    id_: str,
    referral: Referral,
    *,
    ids: ResourceIds,
    focus: str,
    requester: Json,
    owner: Json,
    authored: date | None,
    by: Translating,
) -> Json:
    return _clean(
        {
            "resourceType": "Task",
            "id": id_,
            "identifier": [our_identifier("FILL", canonical.REFERRAL_ID, id_)],
            "groupIdentifier": {"system": canonical.CLR_ID, "value": referral.clr_id},
            "status": "requested",
            "intent": "order",
            "priority": "routine",
            "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
            "focus": {"reference": f"ServiceRequest/{focus}"},
            "for": {"reference": f"Patient/{ids.patient}"},
            # SDOHCC makes authoredOn mandatory: where no source names a referral date, it is the
            # moment this Task was written
            "authoredOn": authored.isoformat() if authored else format_instant(by.now),
            "lastModified": format_instant(by.now),
            "requester": requester,
            "owner": owner,
            "insurance": _insurance(ids),
        }
    )


def _insurance(ids: ResourceIds) -> list[Json]:
    return [{"reference": f"Coverage/{ids.coverage}"}] if ids.coverage else []


def _cin(cin: str) -> Json:
    return {"system": canonical.MEDI_CAL_CIN, "value": cin}


def _clean(resource: Json) -> Json:
    return {k: v for k, v in resource.items() if v not in ("", [], {}, None)}
