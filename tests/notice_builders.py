"""Notices owed as `intake` leaves them in the database: referral, Communication, notice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from fhir_hub_bridge.fhir.codec import Json, format_instant, to_bytes
from fhir_hub_bridge.referral.model import PartnerId
from fhir_hub_bridge.referral.parties import Agreement, Partner
from fhir_hub_bridge.store.buckets import bucket_of_key, mint
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.partners import put_partner
from fhir_hub_bridge.store.resources import NewVersion, save
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import notice, referral

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
NOTICE_SYSTEM = "https://bridge.example/id/notice"


@dataclass(frozen=True, slots=True)
class Owed:
    """A notice as a test knows it."""

    id: str
    referral_id: str
    lane: int
    communication_id: str
    body: bytes = field(repr=False)
    sha256: str
    row: dict[str, Any] = field(repr=False)


def a_partner(
    id_: str = "ehr",
    *,
    endpoint: str = "http://ehr.example/fhir",
    method: str = "fhir-push",
    proof: str = "2xx",
) -> Partner:
    agreement = Agreement(method, endpoint, proof, date(2026, 1, 1))  # type: ignore[arg-type]
    return Partner(PartnerId(id_), f"Pretend {id_}", "referring-entity", agreement=agreement)


def a_lane(
    name: str,
    *,
    notices: int = 1,
    recipient: str = "ehr",
    method: str = "fhir-push",
    at: datetime = NOW,
    due_in: timedelta = timedelta(days=10),
    **columns: Any,
) -> list[Owed]:
    """The notices of one referral to one recipient, due to be sent at `at`, in their order."""
    return [
        _owed(name, lane, recipient=recipient, method=method, at=at, due_in=due_in, columns=columns)
        for lane in range(1, notices + 1)
    ]


def store_owed(conn: Connection, owed: Sequence[Owed]) -> None:
    """A unit of work: the notices with their referrals, duties and Communications."""
    referrals = {one.referral_id: _referral_row(one) for one in owed}
    insert_all(conn, [Batch(referral, list(referrals.values()))])
    duties = [made(one) for one in owed for made in (_request, _communication)]
    save(conn, [NewVersion(duty, 1, NOW) for duty in duties])
    insert_all(conn, [Batch(notice, [one.row for one in owed])])


def store_partners(conn: Connection, partners: Sequence[Partner]) -> None:
    """A unit of work: the partners with their agreements."""
    for partner in partners:
        put_partner(conn, partner, at=NOW)


def told(
    communication: Json, *, sent_at: datetime | None, received_at: datetime | None, status: str
) -> Json:
    """Stands for `mapping.notice_to_fhir.communication_told`."""
    times = {"sent": sent_at, "received": received_at}
    known = {name: format_instant(at) for name, at in times.items() if at}
    return {**communication, "status": status, **known}


def _id(*parts: object) -> str:
    text = "/".join(map(str, parts))
    return mint(bucket_of_key(str(parts[1])), hashlib.sha256(text.encode()).digest())


def _owed(
    name: str,
    lane: int,
    *,
    recipient: str,
    method: str,
    at: datetime,
    due_in: timedelta,
    columns: dict[str, Any],
) -> Owed:
    id_, referral_id = _id("notice", name, lane), _id("referral", name)
    communication_id = _id("communication", name, lane)
    outgoing = {
        "resourceType": "Communication",
        "identifier": [{"system": NOTICE_SYSTEM, "value": id_}],
        "status": "in-progress",
        "payload": [{"contentString": f"Referral {name}: state {lane}. " + "." * 1200}],
    }
    request = {"method": "PUT", "url": f"Communication?identifier={NOTICE_SYSTEM}|{id_}"}
    body = to_bytes(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": outgoing, "request": request}],
        }
    )
    sha256 = hashlib.sha256(body).hexdigest()
    row = {
        "bucket": bucket_of_key(name),
        "id": id_,
        "referral_id": referral_id,
        "lane": lane,
        "recipient": recipient,
        "type": "status-changed",
        "event_number": lane,
        "state": "pending",
        "rule": "",
        "rulebook_row": "status-changed",
        "rulebook_version": "test",
        "confidence": "project default",
        "owed_at": to_micros(at),
        "due_at": to_micros(at + due_in),
        "method": method,
        "message": body,
        "media_type": "application/fhir+json" if method == "fhir-push" else "text/csv",
        "sha256": sha256,
        "communication_id": communication_id,
        "attempts": 0,
        "next_attempt_at": to_micros(at),
        "token": 0,
        "lease_until": 0,
        "escalated_at": None,
        "escalated_to": "",
        "escalated_why": "",
        **columns,
    }
    return Owed(id_, referral_id, lane, communication_id, body, sha256, row)


def _referral_row(owed: Owed) -> dict[str, Any]:
    return {
        "bucket": owed.row["bucket"],
        "id": owed.referral_id,
        "clr_id": owed.referral_id,
        "plan": "plan",
        "requester": owed.row["recipient"],
        "provider": "",
        "cin": "",
        "service": "ecm",
        "closed": False,
        "held": "",
        "standing": "pending",
        "state": "{}",
        "resources": "{}",
        "events": 3,
        "notices": 3,
        "received_at": owed.row["owed_at"],
        "changed_at": owed.row["owed_at"],
    }


def _request(owed: Owed) -> Json:
    return {
        "resourceType": "CommunicationRequest",
        "id": f"{owed.communication_id[:2]}q{owed.communication_id[3:]}",
        "status": "active",
    }


def _communication(owed: Owed) -> Json:
    return {
        "resourceType": "Communication",
        "id": owed.communication_id,
        "identifier": [{"system": NOTICE_SYSTEM, "value": owed.id}],
        "basedOn": [
            {"reference": "ServiceRequest/r"},
            {"reference": f"CommunicationRequest/{_request(owed)['id']}"},
        ],
        "status": "preparation",
        "payload": [{"contentString": "A made-up notice."}],
    }
