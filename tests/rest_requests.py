"""Requests as REST clients send them, and what is counted to see that nothing was stored."""

from __future__ import annotations

import json
from typing import Any

import httpx
from sqlalchemy import Connection
from tests.api_client import the_outcome

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.store.tables import metadata
from fhir_hub_bridge.store.transaction import Store

FHIR_JSON = "application/fhir+json"
JSON_PATCH = "application/json-patch+json"
NUMBERS = "https://ehr.example/patients"


async def send(
    client: httpx.AsyncClient, method: str, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    """A request with a body of bytes or JSON; `If_Match=` is the header If-Match."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    if content is not None:
        named.setdefault("Content-Type", FHIR_JSON)
    return await client.request(method, path, content=content, headers=named)


async def created(client: httpx.AsyncClient, body: dict[str, Any], **headers: str) -> str:
    """Create it; its `Type/id`."""
    answer = await send(client, "POST", f"/fhir/{body['resourceType']}", body, **headers)
    assert answer.status_code == 201, answer.text
    return f"{body['resourceType']}/{answer.json()['id']}"


def a_person(number: str = "1", **changes: Any) -> dict[str, Any]:
    """A made-up Patient with a number of its own."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": NUMBERS, "value": number}],
        "name": [{"family": "Example", "given": ["Testina"]}],
        **changes,
    }


def an_entry(
    method: str, url: str, resource: dict[str, Any] | None = None, **request: str
) -> dict[str, Any]:
    """A Bundle's entry; `fullUrl=` goes to the entry, all other names to its request."""
    full_url = request.pop("fullUrl", None)
    entry: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        entry["resource"] = resource
    return entry | ({"fullUrl": full_url} if full_url else {})


def a_bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """A Bundle of this type."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def statuses(answer: httpx.Response) -> list[str]:
    """What each entry of a response Bundle was answered."""
    return [entry["response"]["status"][:3] for entry in answer.json()["entry"]]


def the_rule(answer: httpx.Response) -> str:
    """The rule that the first issue of an OperationOutcome names."""
    rule: str = the_outcome(answer)["details"]["coding"][0]["code"]
    return rule


async def all_rows(store: Store) -> dict[str, int]:
    """How many rows each table has."""

    def count(conn: Connection) -> dict[str, int]:
        return {
            name: conn.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in metadata.tables
        }

    return await store.read_snapshot(count)


REQUEST, TASK = (f"urn:uuid:7d0d2e0a-0000-4000-8000-00000000000{n}" for n in (2, 3))


def a_referral_of(
    patient: str, number: str = "R-1", *, task: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A transaction with a referral of this Patient, from the clinic to the plan."""
    request = {
        "resourceType": "ServiceRequest",
        "identifier": [{"system": "https://ehr.example/referral", "value": number}],
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": canonical.SERVICE, "code": "ecm"}]},
        "subject": {"reference": patient},
        "requester": {"reference": "Organization/clinic"},
        "authoredOn": "2026-11-19",
    }
    asked = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
        "focus": {"reference": REQUEST},
        "for": {"reference": patient},
        "authoredOn": "2026-11-19T18:00:00Z",
        "requester": {"reference": "Organization/clinic"},
        "owner": {"reference": "Organization/sunrise"},
        **(task or {}),
    }
    return a_bundle(
        "transaction",
        an_entry("POST", "ServiceRequest", request, fullUrl=REQUEST),
        an_entry("POST", "Task", {k: v for k, v in asked.items() if v is not None}, fullUrl=TASK),
    )
