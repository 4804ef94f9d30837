"""The examples of the guide: one made-up referral, round the loop, as the translator writes it.

A clinic refers a made-up person; the plan approves and assigns; the provider serves; the clinic is
told. Ids, moments and persons are fixed. Each invalid example is a valid one with one change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.mapping.codings import service_category, service_concept
from fhir_hub_bridge.mapping.notice_to_fhir import NoticeContent, message
from fhir_hub_bridge.mapping.parties_to_fhir import organization
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds, Translating, translate
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.referral import lifecycle
from fhir_hub_bridge.referral.disclosure import view_of_referring_entity
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Decide,
    Event,
    Evidence,
    Identifier,
    Member,
    NoticeType,
    PartnerId,
    Refer,
    Referral,
    ReferralId,
    ReferralStatus,
    Report,
    Told,
)
from fhir_hub_bridge.referral.notices import notices_owed
from fhir_hub_bridge.referral.parties import Agreement, Partner
from fhir_hub_bridge.referral.rulebook import Rulebook

NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
BASE_URL = "https://bridge.example/fhir"
CLINIC = Partner(
    PartnerId("clinic"),
    "Example Clinic (made up)",
    "referring-entity",
    npi="1679576722",
    agreement=Agreement("fhir-push", "https://clinic.example/fhir", "2xx", date(2025, 7, 1)),
)
PLAN = Partner(PartnerId("plan"), "Example Plan (made up)", "managed-care-plan", npi="1234567893")
PROVIDER = Partner(PartnerId("provider"), "Example Homes (made up)", "provider", npi="1245319599")


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a profile. `fault` is what keeps an invalid one from the profile, or ""."""

    profile: str
    resource: Json
    fault: str = ""


def examples(rulebook: Rulebook) -> list[Example]:
    """One valid and one invalid example of each profile."""
    found = _told(rulebook)
    return [
        example
        for profile, reference, fault, change in _EXAMPLES
        for example in (
            Example(profile, _declared(found[reference], profile)),
            Example(profile, change(_declared(found[reference], profile)), fault),
        )
    ]


def supporting(rulebook: Rulebook) -> list[Json]:
    """The other resources of the story, that the examples refer to."""
    shown = {reference for _, reference, _, _ in _EXAMPLES}
    return [resource for key, resource in _told(rulebook).items() if key not in shown]


_CLR_ID = "example-clr"
_PLACED = {"system": "https://clinic.example/referral", "value": "R-1"}
_SERVICE = "housing-transition-navigation"


def _told(rulebook: Rulebook) -> dict[str, Json]:
    """The story's resources by `Type/id`, as they stand at its end."""
    sent = {f"{r['resourceType']}/{r['id']}": r for r in _sent(rulebook)}
    sheet = Sheet({key: (resource, 1) for key, resource in sent.items()})
    ids = ResourceIds("example-member", "example-order", "example-plan-task")
    minted = iter(
        (
            "example-coverage",
            "example-decision",
            "example-filler-order",
            "example-provider-task",
        )
    )
    by = Translating(rulebook, NOW, lambda: next(minted))
    for referral, events in _lived(rulebook):
        ids = translate(referral, events, ids=ids, sheet=sheet, by=by)
    drafted = {draft.reference: draft.resource for draft in sheet.drafts}
    notice = _notice(referral, events, sheet=sheet, rulebook=rulebook)
    partners = {f"Organization/{p.id}": organization(p) for p in (CLINIC, PLAN, PROVIDER)}
    return {**partners, **sent, **drafted, "Communication/example-notice": notice}


def _sent(rulebook: Rulebook) -> list[Json]:
    """What the clinic sends: a Patient, a ServiceRequest with service and HCPCS, a Task."""
    service = rulebook.service(_SERVICE)
    billing = service.billing_codes[0]
    modifiers = [
        {"url": canonical.HCPCS_MODIFIER_EXTENSION, "valueCode": modifier}
        for modifier in billing.modifiers
    ]
    code = service_concept(service)
    hcpcs = {"extension": modifiers, "system": canonical.HCPCS, "code": billing.hcpcs}
    kind = {"coding": [{"system": canonical.IDENTIFIER_TYPE, "code": "PLAC"}]}
    patient = {
        "resourceType": "Patient",
        "id": "example-member",
        "identifier": [{"system": canonical.MEDI_CAL_CIN, "value": "97589669Y"}],
        "name": [{"family": "Madeup", "given": ["Marta"]}],
        "gender": "unknown",
    }
    order = {
        "resourceType": "ServiceRequest",
        "id": "example-order",
        "identifier": [{"type": kind, **_PLACED}],
        "requisition": {"system": canonical.CLR_ID, "value": _CLR_ID},
        "status": "active",
        "intent": "order",
        "category": service_category(service),
        "code": {**code, "coding": [*code["coding"], hcpcs]},
        "subject": {"reference": "Patient/example-member"},
        "authoredOn": "2026-11-02",
        "requester": {"reference": "Organization/clinic"},
    }
    task = {
        "resourceType": "Task",
        "id": "example-plan-task",
        "identifier": [{"type": kind, **_PLACED}],
        "groupIdentifier": {"system": canonical.CLR_ID, "value": _CLR_ID},
        "status": "requested",
        "intent": "order",
        "priority": "routine",
        "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
        "focus": {"reference": "ServiceRequest/example-order"},
        "for": {"reference": "Patient/example-member"},
        "authoredOn": "2026-11-02T10:00:00-08:00",
        "requester": {"reference": "Organization/clinic"},
        "owner": {"reference": "Organization/plan"},
    }
    return [patient, order, task]


def _lived(rulebook: Rulebook) -> Iterator[tuple[Referral, tuple[Event, ...]]]:
    """The referral after each act, with the events the act made."""
    told = Told(PLAN.party, NOW, Evidence("fhir", "PUT Task"))
    refer = Refer(
        service=_SERVICE,
        member=Member(cin="97589669Y", family="Madeup", given="Marta"),
        plan=PLAN.party,
        requester=CLINIC.party,
        identifiers=(Identifier(_PLACED["system"], _PLACED["value"]),),
        clr_id=_CLR_ID,
        referred_on=date(2026, 11, 2),
    )
    acts: tuple[Act, ...] = (
        Decide(
            "approved",
            date(2026, 11, 4),
            number="A-1",
            starts_on=date(2026, 11, 4),
            ends_on=date(2027, 5, 3),
        ),
        Assign(PROVIDER.party, date(2026, 11, 5)),
        Report(ReferralStatus.ACCEPTED, date(2026, 11, 7), PROVIDER.party),
        Report(
            ReferralStatus.LOOP_CLOSED,
            date(2026, 11, 18),
            PROVIDER.party,
            reason="services-received",
        ),
    )
    referral, events = lifecycle.receive(
        refer,
        id=ReferralId("example-referral"),
        clr_id=_CLR_ID,
        told=told,
        rulebook=rulebook,
    )
    number = len(events)
    yield referral, events
    for act in acts:
        referral, events = lifecycle.apply(
            referral, act, told=told, rulebook=rulebook, last_event=number
        )
        number += len(events)
        yield referral, events


def _notice(
    referral: Referral, events: tuple[Event, ...], *, sheet: Sheet, rulebook: Rulebook
) -> Json:
    """The message of the last notice, as the clinic's server keeps it: under an id of its own."""
    owed, _ = notices_owed(referral, events, agreement=CLINIC.agreement, rulebook=rulebook)
    task = "Task/example-plan-task"
    content = NoticeContent(
        id="example-notice",
        type=NoticeType.LOOP_CLOSED,
        view=view_of_referring_entity(referral, rulebook),
        task=f"{task}/_history/{sheet.version(task)}",
        service_request="ServiceRequest/example-order",
        sender=referral.plan,
        recipient=referral.requester,
        task_status=str(sheet.now(task)["status"]),
    )
    bundle = message(content, owed[-1], base_url=BASE_URL, with_task=False)
    sent: Json = bundle["entry"][0]["resource"]
    return {"resourceType": sent["resourceType"], "id": "example-notice"} | sent


def _declared(resource: Json, profile: str) -> Json:
    """With its profile named, so that a validator needs no other word."""
    url = f"{canonical.BASE}/StructureDefinition/{profile}"
    meta = {**resource.get("meta", {}), "profile": [url]}
    first = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta}
    return first | {k: v for k, v in resource.items() if k not in first}


def _invalid(resource: Json) -> Json:
    return {**resource, "id": f"{resource['id']}-invalid"}


def _without_reason_text(task: Json) -> Json:
    reason = {k: v for k, v in task["statusReason"].items() if k != "text"}
    return {**_invalid(task), "statusReason": reason}


def _without(element: str) -> Callable[[Json], Json]:
    return lambda resource: {k: v for k, v in _invalid(resource).items() if k != element}


def _as_claim(response: Json) -> Json:
    return {**_invalid(response), "use": "claim"}


# Profile, the resource of the story that shows it, the rule its invalid twin breaks, and how.
_EXAMPLES: tuple[tuple[str, str, str, Callable[[Json], Json]], ...] = (
    (
        "clr-referral-task",
        "Task/example-plan-task",
        "Task.statusReason.text",
        _without_reason_text,
    ),
    (
        "clr-servicerequest",
        "ServiceRequest/example-filler-order",
        "ServiceRequest.code",
        _without("code"),
    ),
    ("clr-notice", "Communication/example-notice", "Communication.about", _without("about")),
    (
        "clr-claim-response",
        "ClaimResponse/example-decision",
        "ClaimResponse.use",
        _as_claim,
    ),
)
