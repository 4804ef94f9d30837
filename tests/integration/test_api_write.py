"""create, update and transaction by HTTP: what is answered, and that refusals store nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection
from tests.api_client import BASE, a_bridge, a_client, register, the_outcome
from tests.console_stories import BRIDGES, CLINIC, HEART, PLAN

from fhir_hub_bridge.api.registry import CREATE, RESOURCES, UPDATE
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.intake.fhir_request import WRITABLE
from fhir_hub_bridge.store.transaction import Store

PATIENT = "urn:uuid:7d0d2e0a-0000-4000-8000-000000000001"
REQUEST = "urn:uuid:7d0d2e0a-0000-4000-8000-000000000002"
TASK = "urn:uuid:7d0d2e0a-0000-4000-8000-000000000003"
FHIR_JSON = {"Content-Type": "application/fhir+json"}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    await register(store, [PLAN, CLINIC, HEART, BRIDGES])
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


def a_patient(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": canonical.MEDI_CAL_CIN, "value": "91234567A"}],
        "name": [{"family": "Example", "given": ["Testina"]}],
        **changes,
    }


def a_referral() -> dict[str, Any]:
    """A transaction with a referral of a made-up person, from the clinic to the plan."""
    request = {
        "resourceType": "ServiceRequest",
        "identifier": [{"system": "https://ehr.example/referral", "value": "R-1"}],
        "status": "active",
        "intent": "order",
        "code": {"coding": [{"system": canonical.SERVICE, "code": "ecm"}]},
        "subject": {"reference": PATIENT},
        "requester": {"reference": "Organization/clinic"},
        "authoredOn": "2026-11-19",
    }
    task = {
        "resourceType": "Task",
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
        "focus": {"reference": REQUEST},
        "for": {"reference": PATIENT},
        "authoredOn": "2026-11-19T18:00:00Z",
        "requester": {"reference": "Organization/clinic"},
        "owner": {"reference": "Organization/sunrise"},
    }
    return a_transaction({PATIENT: a_patient(), REQUEST: request, TASK: task})


def a_transaction(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": name,
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]},
            }
            for name, resource in resources.items()
        ],
    }


async def send(
    client: httpx.AsyncClient, method: str, path: str, body: Any, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.request(method, path, content=content, headers={**FHIR_JSON, **named})


async def a_tracked_task(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await send(client, "POST", "/fhir", a_referral(), X_Partner="clinic")
    location = answer.json()["entry"][2]["response"]["location"]
    task: dict[str, Any] = (await client.get(f"/fhir/{location}")).json()
    return task


async def rows(store: Store) -> int:
    """How many versions are stored."""

    def count(conn: Connection) -> int:
        found: int = conn.exec_driver_sql("SELECT count(*) FROM resource_version").scalar_one()
        return found

    return await store.read(count)


def test_what_may_be_written_is_what_is_told() -> None:
    created = {served.type for served in RESOURCES if CREATE in served.interactions}
    updated = {served.type for served in RESOURCES if UPDATE in served.interactions}

    assert created == WRITABLE["POST"]
    assert updated == WRITABLE["PUT"]


async def test_create_answers_with_address_and_version(client: httpx.AsyncClient) -> None:
    answer = await send(client, "POST", "/fhir/Patient", a_patient())

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["location"] == f"{BASE}/fhir/Patient/{body['id']}/_history/1"
    assert answer.headers["last-modified"] == "Fri, 20 Nov 2026 20:00:00 GMT"
    assert (await client.get(answer.headers["location"])).json() == body


async def test_prefer_says_how_much_is_answered(client: httpx.AsyncClient) -> None:
    minimal = await send(
        client, "POST", "/fhir/Patient", a_patient(id="1"), Prefer="return=minimal"
    )
    outcome = await send(
        client, "POST", "/fhir/Patient", a_patient(id="2"), Prefer="return=OperationOutcome"
    )

    assert (minimal.status_code, minimal.content) == (201, b"")
    assert minimal.headers["etag"] == 'W/"1"'
    assert outcome.status_code == 201
    assert the_outcome(outcome)["severity"] == "information"


async def test_the_same_key_or_body_again_stores_nothing(
    store: Store, client: httpx.AsyncClient
) -> None:
    first = await send(client, "POST", "/fhir/Patient", a_patient(), Idempotency_Key="k-1")
    by_body = await send(client, "POST", "/fhir/Patient", a_patient())
    by_key = await send(
        client, "POST", "/fhir/Patient", a_patient(gender="other"), Idempotency_Key="k-1"
    )

    assert by_body.headers["location"] == first.headers["location"]
    assert by_key.status_code == 422  # a key is good for one body
    assert await rows(store) == 1


async def test_update_needs_the_current_version_when_told(
    store: Store, client: httpx.AsyncClient
) -> None:
    request = a_referral()["entry"][1]["resource"] | {"subject": {"reference": "Patient/p"}}
    stored = (await send(client, "POST", "/fhir/ServiceRequest", request)).json()
    path = f"/fhir/ServiceRequest/{stored['id']}"

    changed = await send(client, "PUT", path, stored | {"priority": "urgent"}, If_Match='W/"1"')
    stale = await send(client, "PUT", path, stored | {"priority": "stat"}, If_Match='W/"1"')
    badly = await send(client, "PUT", path, stored | {"priority": "asap"}, If_Match="1")

    assert changed.status_code == 200
    assert changed.headers["etag"] == 'W/"2"'
    assert changed.headers["location"] == f"{BASE}{path}/_history/2"
    assert stale.status_code == 412
    assert the_outcome(stale)["code"] == "conflict"
    assert badly.status_code == 400
    assert await rows(store) == 2


async def test_a_transaction_opens_a_referral_that_can_be_found(
    client: httpx.AsyncClient,
) -> None:
    answer = await send(client, "POST", "/fhir", a_referral(), X_Partner="clinic")

    bundle = answer.json()
    assert answer.status_code == 200
    assert bundle["type"] == "transaction-response"
    assert [e["response"]["status"] for e in bundle["entry"]] == ["201 Created"] * 3
    locations = [e["response"]["location"] for e in bundle["entry"]]
    assert [text.split("/")[0] for text in locations] == ["Patient", "ServiceRequest", "Task"]
    patient = locations[0].split("/")[1]
    found = (await client.get(f"/fhir/Task?patient={patient}&owner=sunrise")).json()
    assert found["total"] == 1
    assert found["entry"][0]["resource"]["focus"]["reference"].startswith("ServiceRequest/")
    console = await client.get("/console")
    assert "Enhanced Care Management" in console.text


async def test_the_plans_acts_move_the_task_and_show_on_the_console(
    client: httpx.AsyncClient,
) -> None:
    task = await a_tracked_task(client)
    decided = deepcopy(task) | {
        "status": "accepted",
        "output": [
            {
                "type": {
                    "coding": [{"system": canonical.OUTPUT_TYPE, "code": "authorization-decision"}]
                },
                "valueCodeableConcept": {
                    "coding": [{"system": canonical.AUTHORIZATION_STATUS, "code": "approved"}]
                },
            }
        ],
    }
    version = task["meta"]["versionId"]

    answer = await send(
        client,
        "PUT",
        f"/fhir/Task/{task['id']}",
        decided,
        If_Match=f'W/"{version}"',
        X_Partner="sunrise",
    )
    history = (await client.get(f"/fhir/Task/{task['id']}/_history")).json()
    console = await client.get("/console")

    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "accepted"
    assert history["total"] >= 2
    assert "Approved; a provider must be named" in console.text


async def test_an_illegal_step_is_told_with_its_rule_and_stores_nothing(
    store: Store, client: httpx.AsyncClient
) -> None:
    task = await a_tracked_task(client)
    before = await rows(store)

    answer = await send(
        client,
        "PUT",
        f"/fhir/Task/{task['id']}",
        task | {"status": "completed"},
        X_Partner="sunrise",
    )

    issue = the_outcome(answer)
    assert answer.status_code == 422
    assert issue["code"] == "business-rule"
    assert "requested" in issue["details"]["text"]
    assert "completed" in issue["details"]["text"]
    assert issue["details"]["coding"][0]["code"]
    assert await rows(store) == before


async def test_a_change_by_the_wrong_party_is_refused(
    store: Store, client: httpx.AsyncClient
) -> None:
    task = await a_tracked_task(client)
    before = await rows(store)

    answer = await send(
        client,
        "PUT",
        f"/fhir/Task/{task['id']}",
        task | {"status": "accepted"},
        X_Partner="bridges",
    )

    assert answer.status_code == 422
    assert the_outcome(answer)["details"]["coding"][0]["code"] == "wrong-party"
    assert await rows(store) == before


async def test_bad_bodies_are_refused_and_nothing_is_stored(
    store: Store, client: httpx.AsyncClient
) -> None:
    half = a_referral()
    half["entry"][2]["resource"]["status"] = "no-such-status"
    dangling = a_referral()
    del dangling["entry"][0]
    stranger = a_referral()
    stranger["entry"][2]["resource"]["owner"] = {"display": "Somebody"}
    late = a_referral()
    late["entry"][1]["resource"]["authoredOn"] = "2026-12-24"
    cases: list[tuple[str, str, Any, int]] = [
        ("POST", "/fhir/Patient", b'{"resourceType": "Patient"', 400),
        ("POST", "/fhir/Patient", b"[]", 400),
        ("POST", "/fhir/Patient", b'{"resourceType":"Patient","id":"a","id":"b"}', 400),
        ("POST", "/fhir/Patient", a_patient(birthDate="yesterday"), 422),
        ("POST", "/fhir/Patient", a_patient(colour="blue"), 422),
        ("POST", "/fhir/Patient", {"resourceType": "Task", "status": "draft"}, 400),
        ("POST", "/fhir", {"resourceType": "Bundle", "type": "document"}, 400),
        ("POST", "/fhir", half, 422),
        ("POST", "/fhir", dangling, 422),
        ("POST", "/fhir", stranger, 422),
        ("POST", "/fhir", late, 422),
        ("PUT", "/fhir/Task/nobody", {"resourceType": "Task", "id": "nobody"}, 422),
        ("PUT", "/fhir/Task/one", {"resourceType": "Task", "id": "other"}, 400),
    ]

    for method, path, body, status in cases:
        answer = await send(client, method, path, body, X_Partner="clinic")

        assert answer.status_code == status, (path, body, answer.text)
        assert the_outcome(answer)["severity"] in ("error", "fatal")
        assert "Testina" not in answer.text
    assert await rows(store) == 0


async def test_other_media_types_and_sizes_are_refused(
    store: Store, client: httpx.AsyncClient
) -> None:
    body = json.dumps(a_patient()).encode()
    large = b'{"resourceType":"Patient","id":"' + b"x" * (5 * 1024 * 1024) + b'"}'

    async def parts() -> AsyncIterator[bytes]:
        yield large

    cases = [
        (await send(client, "POST", "/fhir/Patient", body, Content_Type="text/plain"), 415),
        (await send(client, "POST", "/fhir/Patient", body, Content_Type="text/turtle"), 415),
        (await client.post("/fhir/Patient", content=body, headers={"Content-Type": ""}), 415),
        (await send(client, "POST", "/fhir/Patient", body, Content_Encoding="gzip"), 415),
        (await send(client, "POST", "/fhir/Patient", large), 413),
        (await client.post("/fhir/Patient", content=parts(), headers=FHIR_JSON), 413),
        (await send(client, "POST", "/fhir/Patient", body, Accept="text/turtle"), 406),
        (await send(client, "POST", "/fhir/Patient", body, X_Partner="nobody"), 403),
    ]

    for answer, status in cases:
        assert answer.status_code == status, answer.text
        the_outcome(answer)
    assert await rows(store) == 0


async def test_json_by_its_other_names_is_taken(client: httpx.AsyncClient) -> None:
    for number, name in enumerate(
        ("application/json", "application/fhir+json; charset=UTF-8; fhirVersion=4.0")
    ):
        answer = await send(
            client, "POST", "/fhir/Patient", a_patient(id=f"p{number}"), Content_Type=name
        )

        assert answer.status_code == 201, answer.text


async def test_a_base_with_a_slash_is_the_same_base(client: httpx.AsyncClient) -> None:
    answer = await send(client, "POST", "/fhir/", a_referral(), X_Partner="clinic")

    assert answer.status_code == 200
