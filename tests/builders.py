"""What tests speak of, with sensible defaults: a referral, acts, partners, a Bundle. All made up.

The clock stands at NOW, a Friday noon in California; the referral was made on REFERRED, decided
on DECIDED, assigned on ASSIGNED.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.fhir_request import Asked
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.catalog import Catalog, load_catalog
from fhir_hub_bridge.referral import lifecycle
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Decide,
    Event,
    EventKind,
    Evidence,
    Identifier,
    Member,
    PartnerId,
    Party,
    Refer,
    Referral,
    ReferralId,
    ReferralStatus,
    Report,
    Told,
)
from fhir_hub_bridge.referral.parties import Agreement, Partner
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.partners import put_partner
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.store.unit import Connection

NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
TODAY = date(2026, 11, 20)
REFERRED = date(2026, 11, 2)
DECIDED = date(2026, 11, 4)
ASSIGNED = date(2026, 11, 5)
BASE_URL = "https://bridge.example/fhir"
CIN = "97589669Y"

S = ReferralStatus


@cache
def a_catalog() -> Catalog:
    """The shipped mappings, read once."""
    return load_catalog(Path(__file__).parents[1] / "mappings")


def a_rulebook() -> Rulebook:
    """The shipped rulebook."""
    return a_catalog().rulebook


def an_agreement(**changes: Any) -> Agreement:
    """FHIR push, long in force, told of what is always owed."""
    agreed = Agreement("fhir-push", "https://clinic.example/fhir", "2xx", date(2025, 7, 1))
    return replace(agreed, **changes)


def a_partner(id_: str = "harbor", **changes: Any) -> Partner:
    """A provider, unless told otherwise."""
    partner = Partner(PartnerId(id_), f"{id_.title()} Example", "provider")
    return replace(partner, **changes)


PLAN = a_partner("plan", kind="managed-care-plan", npi="1234567893", plan_codes=("MCP000",))
CLINIC = a_partner(
    "clinic", kind="referring-entity", npi="1679576722", agreement=an_agreement(every_status=True)
)
HARBOR = a_partner("harbor", npi="1245319599", tin="123456789")
HEARTH = a_partner("hearth", npi="1730187717")
HUB = a_partner(
    "hub", kind="hub", acts_for=(PLAN.id, HARBOR.id), delegated=("assign",), tin="987654321"
)
PARTNERS = (PLAN, CLINIC, HARBOR, HEARTH, HUB)


def told(by: Partner | Party = PLAN, at: datetime = NOW, **changes: Any) -> Told:
    """Said by a partner, at NOW, by FHIR."""
    party = by.party if isinstance(by, Partner) else by
    return replace(Told(party, at, Evidence("fhir", "PUT Task")), **changes)


def a_refer(**changes: Any) -> Refer:
    """A clinic's referral of a made-up member to Enhanced Care Management."""
    refer = Refer(
        service="ecm",
        member=Member(cin=CIN, family="Madeup", given="Marta"),
        plan=PLAN.party,
        requester=CLINIC.party,
        identifiers=(Identifier("https://ehr.example/referral", "R-1"),),
        referred_on=REFERRED,
    )
    return replace(refer, **changes)


def a_decision(status: str = "approved", on: date = DECIDED, **changes: Any) -> Decide:
    """The plan's decision; a denial has its reason."""
    reason = "Criteria are not met" if status == "denied" else ""
    return replace(Decide(status, on, number="A-1", reason=reason), **changes)


def an_assignment(provider: Partner = HARBOR, on: date = ASSIGNED) -> Assign:
    """The plan gives it to a provider."""
    return Assign(provider.party, on)


def a_report(
    status: str | ReferralStatus = S.ACCEPTED,
    on: date | int = 2,
    provider: Partner | None = HARBOR,
    **changes: Any,
) -> Report:
    """A referral status; `on` may be days after ASSIGNED. Without a provider the plan says it."""
    day = on if isinstance(on, date) else ASSIGNED + timedelta(days=on)
    party = provider.party if provider else Party()
    return replace(Report(ReferralStatus(status), day, party), **changes)


def a_closure(
    reason: str = "services-received",
    on: date | int = 9,
    provider: Partner | None = HARBOR,
    **c: Any,
) -> Report:
    """A report that the loop is closed."""
    return a_report(S.LOOP_CLOSED, on, provider, reason=reason, **c)


def lived(
    *acts: Act, refer: Refer | None = None, by: Told | None = None
) -> tuple[Referral, tuple[Event, ...]]:
    """A referral after these acts, and all its events; no party is checked."""
    said = by or told()
    referral, events = lifecycle.receive(
        refer or a_refer(),
        id=ReferralId("r1"),
        clr_id="clr1",
        told=said,
        rulebook=a_rulebook(),
    )
    for act in acts:
        referral, made = lifecycle.apply(
            referral, act, told=said, rulebook=a_rulebook(), last_event=len(events)
        )
        events = (*events, *made)
    return referral, events


def moments(
    *acts: Act, refer: Refer | None = None, by: Told | None = None
) -> list[tuple[Event, Referral]]:
    """Each event with the referral as of it: after its act, but not closed before its closure."""
    found: list[tuple[Event, Referral]] = []
    for number in range(len(acts) + 1):
        referral, events = lived(*acts[:number], refer=refer, by=by)
        made = events[len(found) :]
        for event in made:
            closes_later = made[-1].kind is EventKind.LOOP_CLOSED and event is not made[-1]
            as_of = replace(referral, closure=None) if closes_later else referral
            found.append((event, as_of))
    return found


def a_referral(*acts: Act, **changes: Any) -> Referral:
    """A referral after these acts."""
    return lived(*acts, refer=a_refer(**changes))[0]


APPROVED = (a_decision(),)
ASSIGNED_TO_HARBOR = (*APPROVED, an_assignment())


def a_recording(now: datetime = NOW, seed: bytes | str = b"seed", **changes: Any) -> Recording:
    """The context of a recording; another seed mints other ids."""
    recording = Recording(
        rulebook=a_rulebook(),
        operator="plan",
        base_url=BASE_URL,
        escalation_owner="Rosa, referrals desk",
        now=now,
        seed=seed if isinstance(seed, bytes) else seed.encode(),
    )
    return replace(recording, **changes)


async def register(store: Store, partners: Sequence[Partner] = PARTNERS) -> None:
    """Make these partners known."""

    def put(conn: Connection) -> None:
        for partner in partners:
            put_partner(conn, partner, at=NOW)

    await store.write(put)


PATIENT, REQUEST, TASK = (f"urn:uuid:7d0d2e0a-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))


def a_patient(cin: str = CIN, **changes: Any) -> Json:
    """A made-up person with a CIN, or without."""
    known = [{"system": canonical.MEDI_CAL_CIN, "value": cin}]
    patient = {"resourceType": "Patient", "name": [{"family": "Madeup", "given": ["Marta"]}]}
    return patient | ({"identifier": known} if cin else {}) | changes


def a_service_request(number: str = "R-1", service: str = "ecm", **changes: Any) -> Json:
    """SR1 as an EHR sends it."""
    return _without_none(
        {
            "resourceType": "ServiceRequest",
            "identifier": [{"system": "https://ehr.example/referral", "value": number}]
            if number
            else None,
            "status": "active",
            "intent": "order",
            "code": {"coding": [{"system": canonical.SERVICE, "code": service}]},
            "subject": {"reference": PATIENT},
            "authoredOn": REFERRED.isoformat(),
            "requester": {"reference": "Organization/clinic"},
            **changes,
        }
    )


def a_task(**changes: Any) -> Json:
    """Task1 as an EHR sends it."""
    return _without_none(
        {
            "resourceType": "Task",
            "status": "requested",
            "intent": "order",
            "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
            "focus": {"reference": REQUEST},
            "for": {"reference": PATIENT},
            "authoredOn": f"{REFERRED}T10:00:00-08:00",
            "requester": {"reference": "Organization/clinic"},
            "owner": {"reference": "Organization/plan"},
            **changes,
        }
    )


def a_bundle(*entries: tuple[str, str, Json] | tuple[str, str, Json, str]) -> Json:
    """A transaction of (method url, fullUrl or "", resource[, ifMatch])."""
    rows = []
    for method_url, full_url, resource, *if_match in entries:
        method, url = method_url.split()
        request = {"method": method, "url": url} | ({"ifMatch": if_match[0]} if if_match else {})
        row: Json = {"resource": resource, "request": request}
        rows.append({"fullUrl": full_url, **row} if full_url else row)
    return {"resourceType": "Bundle", "type": "transaction", "entry": rows}


def referral_bundle(
    number: str = "R-1",
    *,
    patient: Json | None = None,
    request: Json | None = None,
    task: Json | None = None,
) -> Json:
    """A referral: Patient, ServiceRequest and Task by urn:uuid; parts may be given changed."""
    return a_bundle(
        ("POST Patient", PATIENT, patient or a_patient()),
        ("POST ServiceRequest", REQUEST, request or a_service_request(number)),
        ("POST Task", TASK, task or a_task()),
    )


def posted(body: Json, *, caller: str = "", key: str = "") -> Asked:
    """A transaction as it is asked for."""
    return Asked("POST", json.dumps(body).encode(), idempotency_key=key, caller=caller)


def put(resource: Json, *, caller: str = "", if_match: int | None = None) -> Asked:
    """An update as it is asked for."""
    return Asked(
        "PUT",
        json.dumps(resource).encode(),
        type=resource["resourceType"],
        id=resource["id"],
        if_match=if_match,
        caller=caller,
    )


def decided_output(status: str = "approved", response: str = "") -> list[Json]:
    """Task.output of a decision."""
    kind = {"coding": [{"system": canonical.OUTPUT_TYPE, "code": "authorization-decision"}]}
    code = {"coding": [{"system": canonical.AUTHORIZATION_STATUS, "code": status}]}
    outputs: list[Json] = [{"type": kind, "valueCodeableConcept": code}]
    if response:
        outputs.append({"type": kind, "valueReference": {"reference": response}})
    return outputs


def a_claim_response(patient: Json, **changes: Any) -> Json:
    """The plan's own ClaimResponse, sent along with its decision; `patient` is the Task's `for`."""
    return {
        "resourceType": "ClaimResponse",
        "status": "active",
        "type": {"coding": [{"system": canonical.CLAIM_TYPE, "code": "professional"}]},
        "use": "preauthorization",
        "patient": patient,
        "created": DECIDED.isoformat(),
        "insurer": {"reference": "Organization/plan"},
        "outcome": "complete",
        "preAuthRef": "A-1",
        **changes,
    }


def because(words: str, code: str = "") -> list[Json]:
    """ClaimResponse.extension: why the plan decided so."""
    concept: Json = {"text": words} | ({"coding": [{"code": code}]} if code else {})
    return [{"url": canonical.AUTHORIZATION_REASON_EXTENSION, "valueCodeableConcept": concept}]


def on_the_basis(code: str) -> list[Json]:
    """ClaimResponse.extension: on what basis a provider may start."""
    return [{"url": canonical.AUTHORIZATION_BASIS_EXTENSION, "valueCode": code}]


def assigned_output(provider: str = "harbor") -> list[Json]:
    """Task.output of an assignment."""
    kind = {"coding": [{"system": canonical.OUTPUT_TYPE, "code": "assigned-provider"}]}
    return [{"type": kind, "valueReference": {"reference": f"Organization/{provider}"}}]


def said(status: str, on: date | None = None) -> Json:
    """Task.businessStatus."""
    extension = [{"url": canonical.STATUS_DATE_EXTENSION, "valueDate": str(on)}]
    concept: Json = {"coding": [{"system": canonical.REFERRAL_STATUS, "code": status}]}
    return {"extension": extension, **concept} if on else concept


def reason(code: str, text: str = "Made-up words") -> Json:
    """Task.statusReason with a closure reason."""
    return {"coding": [{"system": canonical.CLOSURE_REASON, "code": code}], "text": text}


def _without_none(resource: Json) -> Json:
    return {k: v for k, v in resource.items() if v is not None}
