"""A patient's compartment: what of a type is about her, on both databases.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.api_client import BASE, a_bridge, a_client, a_task, keep, the_outcome
from tests.search_client import asked, ids, link

from fhir_hub_bridge.store.transaction import Store

MATCHES = {
    "Patient/p1/Task": ["about-focus", "t2", "t1"],
    "Patient/p1/Task?status=accepted": ["t2"],
    "Patient/p1/Task?status:not=accepted&_sort=_lastUpdated": ["t1", "about-focus"],
    "Patient/p1/ServiceRequest": ["performed", "s1"],
    "Patient/p1/ServiceRequest?code=housing": ["s1"],
    "Patient/p1/Condition": ["c1"],
    "Patient/p1/Task?_include=Task:patient&_id=t1": ["t1"],
    "Patient/p2/Task": [],
}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """Two patients; the one has Tasks, requests and a condition."""
    await keep(
        store,
        {"resourceType": "Patient", "id": "p1"},
        {"resourceType": "Patient", "id": "p2"},
        a_task("t1", **{"for": {"reference": "Patient/p1"}}),
        a_task("t2", status="accepted", **{"for": {"reference": "Patient/p1"}}),
        a_task(
            "about-focus",
            focus={"reference": "Patient/p1"},
            **{"for": {"reference": "Patient/elsewhere"}},
        ),
        {
            "resourceType": "ServiceRequest",
            "id": "s1",
            "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"code": "housing"}]},
        },
        {
            "resourceType": "ServiceRequest",
            "id": "performed",
            "subject": {"reference": "Patient/elsewhere"},
            "performer": [{"reference": "Patient/p1"}],
        },
        {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}},
    )
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


async def test_a_compartment_holds_what_is_about_the_patient(client: httpx.AsyncClient) -> None:
    found = {path: ids(await asked(client, path)) for path in MATCHES}

    assert found == MATCHES


async def test_a_form_may_ask_a_compartment(client: httpx.AsyncClient) -> None:
    answer = await client.post("/fhir/Patient/p1/Task/_search", data={"status": "accepted"})

    assert ids(answer.json()) == ["t2"]


async def test_pages_of_a_compartment_stay_in_it(client: httpx.AsyncClient) -> None:
    first = await asked(client, "Patient/p1/Task?_count=2&_total=accurate")
    following = link(first, "next") or ""
    second = (await client.get(following)).json()

    assert link(first, "self") == f"{BASE}/fhir/Patient/p1/Task?_count=2&_total=accurate"
    assert following.startswith(f"{BASE}/fhir/Patient/p1/Task?")
    assert (ids(first), first["total"], ids(second)) == (["about-focus", "t2"], 3, ["t1"])


async def test_an_unknown_patient_has_no_compartment(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Patient/nobody/Task")

    assert answer.status_code == 404
    assert the_outcome(answer)["code"] == "not-found"


async def test_a_type_outside_every_compartment_is_not_served_there(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/fhir/Patient/p1/Organization")

    assert answer.status_code == 404


async def test_history_is_no_type(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Patient/p1/_history")

    assert answer.json()["type"] == "history"
