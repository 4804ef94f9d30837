"""Made-up partners, members, files and referrals in any number; nobody here is real."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.intake.record_referral import record_referral
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.referral.deadlines import local_date
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Decide,
    Evidence,
    Identifier,
    Member,
    PartnerId,
    Refer,
    ReferralUpdate,
    Told,
)
from fhir_hub_bridge.referral.parties import Agreement, Partner
from fhir_hub_bridge.sandbox.synthetic.people import npi_check_digit
from fhir_hub_bridge.store.partners import put_partner
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.store.writes import Writes

Upto: TypeAlias = Literal["referred", "decided", "assigned"]

PLAN = Partner(
    id=PartnerId("bench-plan"),
    name="Bench Test Health Plan",
    kind="managed-care-plan",
    plan_codes=("BENCH1",),
)
PROVIDER = Partner(
    id=PartnerId("bench-ecm"),
    name="Bench Test Care",
    kind="provider",
    npi="199900091" + npi_check_digit("199900091"),
)
_LETTERS = "ACDEFGHMNTUVWXYZ"
_BATCH = 25
_HEADINGS = (
    "Primary Payer (MCP) Identifier",
    "MCP Name",
    "Member Client Index Number (CIN)",
    "Member Last Name",
    "Member First Name",
    "Member Residential City",
    "Member Residential State",
    "Member Residential Zip",
    "Member Phone Number",
    "Member ECM Status",
    "ECM Provider Name",
    "ECM Provider National Provider Identifier (NPI)",
    "ECM Provider Tax ID Number (TIN)",
    "Referral Status",
    "Date of Referral Status Update",
    "Reason for Referral Loop Closure",
)


def clinic(endpoint: str) -> Partner:
    """A referring entity that is told of every status by FHIR at `endpoint`."""
    agreement = Agreement("fhir-push", endpoint, "2xx", date(2025, 7, 1), every_status=True)
    return Partner(
        id=PartnerId("bench-clinic"),
        name="Bench Test Clinic",
        kind="referring-entity",
        npi="199900092" + npi_check_digit("199900092"),
        agreement=agreement,
    )


def cin(number: int) -> str:
    """The CIN of the member with this number."""
    return f"9{number % 10**7:07d}{_LETTERS[number % len(_LETTERS)]}"


def rtf_file(
    path: Path, numbers: Sequence[int], *, on: date, status: str, reason: str = ""
) -> Path:
    """An ECM Return Transmission File with one row for each of these members."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADINGS)
        for number in numbers:
            writer.writerow(row_cells(number, on=on, status=status, reason=reason))
    return path


def row_cells(number: int, *, on: date, status: str, reason: str = "") -> list[str]:
    """The cells of one member's row, in the order of `headings`."""
    return [
        *("BENCH1", PLAN.name, cin(number), f"Alfa{number}", "Test", "Chico", "CA", "95928"),
        *("(916) 555-0100", "Enrolled", PROVIDER.name, PROVIDER.npi, ""),
        *(status, f"{on:%m/%d/%Y}", reason),
    ]


def headings() -> tuple[str, ...]:
    """The headings of the files made here."""
    return _HEADINGS


async def register(store: Store, *partners: Partner) -> None:
    """Make these partners known."""

    def put(conn: Connection) -> None:
        for partner in partners:
            put_partner(conn, partner, at=datetime.now(UTC))

    await store.write(put)


async def open_referrals(
    store: Store, recording: Recording, numbers: Sequence[int], *, requester: Partner, upto: Upto
) -> None:
    """A referral by `requester` for each of these members, carried up to this act.

    Each owes no notice, one when decided, two when assigned.
    """
    partners = (PLAN, PROVIDER, requester)

    def record(conn: Connection, some: Sequence[int]) -> None:
        writes = Writes()
        for number in some:
            record_referral(
                conn,
                _referred(number, recording, requester=requester, upto=upto),
                stored=None,
                partners=partners,
                recording=recording,
                writes=writes,
                salt=str(number),
            )
        writes.flush(conn)

    remaining = iter(numbers)
    while some := list(itertools.islice(remaining, _BATCH)):
        await store.write(record, some)


def referral_bundles(start: int, *, requester: Partner) -> Iterator[bytes]:
    """Transaction Bundles of four, each a new referral: Patient, Coverage, ServiceRequest, Task."""
    for number in itertools.count(start):
        patient, coverage, request, task = (
            f"urn:uuid:00000000-0000-4000-8000-{number:08d}{place:04d}" for place in range(4)
        )
        order = service_request(number, subject=patient, requester=requester)
        order["insurance"] = [{"reference": coverage}]
        resources: dict[str, dict[str, Any]] = {
            patient: {
                "resourceType": "Patient",
                "identifier": [{"system": canonical.MEDI_CAL_CIN, "value": cin(number)}],
                "name": [{"family": f"Alfa{number}", "given": ["Test"]}],
                "birthDate": "1980-01-01",
            },
            coverage: {
                "resourceType": "Coverage",
                "status": "active",
                "subscriberId": cin(number),
                "beneficiary": {"reference": patient},
                "payor": [{"reference": f"Organization/{PLAN.id}"}],
            },
            request: order,
            task: fulfil_task(
                number,
                patient=patient,
                focus=request,
                requester=f"Organization/{requester.id}",
                owner=f"Organization/{PLAN.id}",
            ),
        }
        entries = [
            {
                "fullUrl": urn,
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]},
            }
            for urn, resource in resources.items()
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        yield json.dumps(bundle).encode()


def single_tasks(start: int) -> Iterator[bytes]:
    """Tasks between organisations that are no partners: judged, stored as sent, opening no loop."""
    for number in itertools.count(start):
        task = fulfil_task(
            number,
            patient=f"Patient/bench-{number}",
            focus=f"ServiceRequest/bench-{number}",
            requester="Organization/somebody",
            owner="Organization/somebody-else",
        )
        yield json.dumps(task).encode()


def single_requests(start: int) -> Iterator[bytes]:
    """ServiceRequests, stored as sent."""
    for number in itertools.count(start):
        subject = f"Patient/bench-{number}"
        yield json.dumps(service_request(number, subject=subject, requester=PROVIDER)).encode()


def fulfil_task(
    number: int, *, patient: str, focus: str, requester: str, owner: str
) -> dict[str, Any]:
    """A Task to fulfil a ServiceRequest; identifier T-number."""
    return {
        "resourceType": "Task",
        "identifier": [{"system": "https://bench.example/task", "value": f"T-{number}"}],
        "status": "requested",
        "intent": "order",
        "priority": "routine",
        "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
        "focus": {"reference": focus},
        "for": {"reference": patient},
        "authoredOn": "2026-01-05T10:00:00-08:00",
        "requester": {"reference": requester},
        "owner": {"reference": owner},
    }


def service_request(number: int, *, subject: str, requester: Partner) -> dict[str, Any]:
    """A ServiceRequest for Enhanced Care Management; identifier R-number."""
    return {
        "resourceType": "ServiceRequest",
        "identifier": [{"system": "https://bench.example/referral", "value": f"R-{number}"}],
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": canonical.SERVICE, "code": "ecm"}]},
        "subject": {"reference": subject},
        "authoredOn": "2026-01-05T10:00:00-08:00",
        "requester": {"reference": f"Organization/{requester.id}"},
    }


def _referred(
    number: int, recording: Recording, *, requester: Partner, upto: Upto
) -> ReferralUpdate:
    on = local_date(recording.now, recording.rulebook.calendar)
    refer = Refer(
        service="ecm",
        member=Member(cin=cin(number), family=f"Alfa{number}", given="Test"),
        plan=PLAN.party,
        requester=requester.party,
        identifiers=(Identifier("https://bench.example/referral", f"R-{number}"),),
        referred_on=on,
    )
    acts: tuple[Act, ...] = (
        refer,
        Decide("approved", on=on, number=f"A-{number}"),
        Assign(PROVIDER.party, on),
    )
    acts = acts[: ("referred", "decided", "assigned").index(upto) + 1]
    evidence = Evidence("bridge", source="bench")
    return ReferralUpdate(Told(by=PLAN.party, learned_at=recording.now, evidence=evidence), acts)
