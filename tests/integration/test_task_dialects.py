"""Older dialects of referral Tasks by name: what is stored of each, and where the original is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.api_client import a_bridge, a_client, register
from tests.console_stories import BRIDGES, CLINIC, HEART, PLAN
from tests.rest_requests import a_person, a_referral_of, all_rows, created, send, the_rule

from fhir_hub_bridge.mapping.task_dialects import CODES, OLDER_CODES
from fhir_hub_bridge.store.received_bodies import body_received
from fhir_hub_bridge.store.transaction import Store

PARENT = {"reference": "https://ehr.example/fhir/Task/parent"}
PROPOSAL = {"reference": "https://ehr.example/fhir/CarePlan/plan"}
ACTIVITY = {"coding": [{"system": OLDER_CODES, "code": "additional-content"}]}
CONTENT = [{"type": ACTIVITY, "valueReference": {"reference": "https://ehr.example/fhir/Goal/1"}}]
GUIDE = "http://hl7.org/fhir/us/sdoh-clinicalcare/StructureDefinition"

DIALECTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "BSeR and the Java reference implementation: received": (
        {"status": "received"},
        {"status": "requested"},
    ),
    "the Java reference implementation: intent filler-order": (
        {"intent": "filler-order"},
        {"intent": "order"},
    ),
    "the Java reference implementation: the parent in basedOn": (
        {"basedOn": [PARENT, PROPOSAL]},
        {"basedOn": [PROPOSAL], "partOf": [PARENT]},
    ),
    "versions 1 and 2 of the guide: codes at their older address": (
        {"input": CONTENT},
        {"input": json.loads(json.dumps(CONTENT).replace(OLDER_CODES, CODES))},
    ),
}
TAKEN_AS_THEY_STAND: dict[str, dict[str, Any]] = {
    "the guide's own 3.0": {"partOf": [PARENT]},
    "US Core parents pinned": {
        "meta": {"profile": [f"{GUIDE}/SDOHCC-TaskForReferralManagement|3.0.0"]}
    },
}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    await register(store, [PLAN, CLINIC, HEART, BRIDGES])
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


async def refer(
    client: httpx.AsyncClient, **task: Any
) -> tuple[dict[str, Any], bytes, httpx.Response]:
    """A referral whose Task has these elements: the Task as stored, the body sent, the answer."""
    patient = await created(client, a_person(), X_Partner="clinic")
    body = json.dumps(a_referral_of(patient, task=task), indent=1).encode()
    answer = await send(client, "POST", "/fhir", body, X_Partner="clinic")
    assert answer.status_code == 200, answer.text
    location = answer.json()["entry"][1]["response"]["location"].partition("/_history")[0]
    return (await client.get(f"/fhir/{location}")).json(), body, answer


async def originals(store: Store) -> list[bytes | None]:
    """The bodies kept for the events, found by the digest in their evidence."""
    rows = await store.read(
        lambda conn: conn.exec_driver_sql("SELECT data FROM referral_event ORDER BY number").all()
    )
    digests = [json.loads(row[0])["told"]["evidence"]["digest"] for row in rows]
    return [await store.read(body_received, digest) for digest in digests]


@pytest.mark.parametrize(("said", "stored"), DIALECTS.values(), ids=DIALECTS)
@pytest.mark.requirement("refer-5")
async def test_a_dialect_is_stored_in_today_s_words_and_its_original_kept(
    store: Store, client: httpx.AsyncClient, said: dict[str, Any], stored: dict[str, Any]
) -> None:
    task, body, _ = await refer(client, **said)

    assert {name: task.get(name) for name in stored} == stored
    assert await originals(store) == [body]


@pytest.mark.parametrize(("said", "_stored"), DIALECTS.values(), ids=DIALECTS)
async def test_an_update_in_the_same_dialect_changes_nothing_that_is_fixed(
    store: Store, client: httpx.AsyncClient, said: dict[str, Any], _stored: dict[str, Any]
) -> None:
    task, _, _ = await refer(client, **said)
    path = f"/fhir/Task/{task['id']}"

    again = await send(client, "PUT", path, task | said, X_Partner="sunrise")
    on_its_way = await send(
        client, "PUT", path, task | said | {"status": "accepted"}, X_Partner="sunrise"
    )

    assert again.status_code == 200, again.text
    assert on_its_way.json()["status"] == "accepted"
    assert (await all_rows(store))["received_body"] >= 1


@pytest.mark.parametrize("said", TAKEN_AS_THEY_STAND.values(), ids=TAKEN_AS_THEY_STAND)
async def test_what_is_said_in_today_s_words_is_stored_as_sent(
    store: Store, client: httpx.AsyncClient, said: dict[str, Any]
) -> None:
    task, _, _ = await refer(client, **said)

    for name, value in said.items():
        if name == "meta":
            assert task["meta"]["profile"] == value["profile"]
        else:
            assert task[name] == value
    assert await originals(store) == [None]


async def test_a_service_request_is_its_sender_s_and_stays_as_sent(
    store: Store, client: httpx.AsyncClient
) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    body = a_referral_of(patient)
    category = [{"coding": [{"system": OLDER_CODES, "code": "food-insecurity"}]}]
    body["entry"][0]["resource"] |= {"intent": "original-order", "category": category}

    answer = await send(client, "POST", "/fhir", body, X_Partner="clinic")

    location = answer.json()["entry"][0]["response"]["location"]
    request = (await client.get(f"/fhir/{location}")).json()
    assert (request["intent"], request["category"]) == ("original-order", category)
    assert (await all_rows(store))["received_body"] == 0


async def test_a_task_that_is_not_tracked_is_stored_as_sent(
    store: Store, client: httpx.AsyncClient
) -> None:
    body = {
        "resourceType": "Task",
        "status": "received",
        "intent": "filler-order",
        "basedOn": [PARENT],
    }

    known = await created(client, body)

    task = (await client.get(f"/fhir/{known}")).json()
    assert {name: task[name] for name in body} == body
    assert (await all_rows(store))["received_body"] == 0


async def test_a_parent_named_twice_is_named_once(client: httpx.AsyncClient) -> None:
    task, _, _ = await refer(client, basedOn=[PARENT], partOf=[PARENT])

    assert task["partOf"] == [PARENT]
    assert "basedOn" not in task


async def test_another_parent_is_still_refused(client: httpx.AsyncClient) -> None:
    task, _, _ = await refer(client, basedOn=[PARENT])
    other = {"partOf": [{"reference": "https://ehr.example/fhir/Task/another"}]}

    answer = await send(
        client, "PUT", f"/fhir/Task/{task['id']}", task | other, X_Partner="sunrise"
    )

    assert (answer.status_code, the_rule(answer)) == (422, "fixed-element")
