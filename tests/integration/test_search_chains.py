"""Chains, `_has` and `:identifier`, and the searches US Core asks of a ServiceRequest; on both
databases. https://hl7.org/fhir/R4/search.html#chaining"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.api_client import a_bridge, a_client, a_task, keep
from tests.search_client import matches

from fhir_hub_bridge.store.transaction import Store

MEMBERS = "https://member.example"
CATEGORIES = "https://category.example"

MATCHES = {
    "Task?patient.identifier=https://member.example|M-1": "t1 t3",
    "Task?patient.identifier=M-1,M-2": "t1 t2 t3",
    "Task?patient:Patient.family=made": "t1 t3",
    "Task?patient.name:exact=Madeup": "t1 t3",
    "Task?patient.birthdate=lt1980": "t1 t3",
    "Task?patient.birthdate=lt1980&status=accepted": "t3",
    "Task?patient._id=p2": "t2",
    "Task?focus:ServiceRequest.status=active": "t1",
    "Task?focus:ServiceRequest.code=housing": "t1 t2",
    "Task?focus:ServiceRequest.code:not=housing": "",
    "Task?part-of.identifier=T-t1": "t3",
    "Task?owner:identifier=https://npi.example|1": "t2",
    "Task?owner:identifier=1": "t2",
    "Task?owner:missing=true": "",
    "ServiceRequest?_has:Task:focus:status=requested": "s1 s2",
    "ServiceRequest?_has:Task:focus:owner=Organization/plan": "s1",
    "ServiceRequest?_has:Task:focus:identifier=T-t2&status=draft": "s2",
    "Patient?_has:Task:patient:status=accepted": "p1",
    "Patient?_has:ServiceRequest:subject:code=housing&_has:Task:patient:status=accepted": "p1",
    "Task?_has:Task:part-of:status=accepted": "t1",
}
US_CORE = {
    "_id=s1": "s1",
    "patient=p1": "s1 s3",
    "patient=p1&category=https://category.example|sdoh": "s1",
    "patient=p1&category=sdoh&authored=ge2026-01-01": "s1",
    "patient=p1&category=sdoh&authored=lt2026-01-01": "",
    "patient=p1&code=housing": "s1",
    "patient=p1&code=food&authored=ge2026-02-01&authored=le2026-03-01": "s3",
    "patient=p1&status=active": "s1 s3",
    "patient=p1&status=draft,revoked": "",
}
"""http://hl7.org/fhir/us/core/StructureDefinition-us-core-servicerequest.html, mandatory ones."""


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """Two made-up members, three requests and three Tasks."""
    await keep(
        store,
        a_patient("p1", "M-1", "Madeup", "1970-05-06"),
        a_patient("p2", "M-2", "Otherwise", "1990-05-06"),
        a_request("s1", "p1", "housing", authored="2026-02-03", category="sdoh"),
        a_request("s2", "p2", "housing", authored="2026-02-03", status="draft"),
        a_request("s3", "p1", "food", authored="2026-02-10"),
        a_task("t1", focus={"reference": "ServiceRequest/s1"}, **{"for": named("p1")}),
        a_task(
            "t2",
            focus={"reference": "ServiceRequest/s2"},
            owner={"identifier": {"system": "https://npi.example", "value": "1"}},
            **{"for": named("p2")},
        ),
        a_task("t3", status="accepted", partOf=[{"reference": "Task/t1"}], **{"for": named("p1")}),
    )
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


def named(id_: str) -> dict[str, str]:
    return {"reference": f"Patient/{id_}"}


def a_patient(id_: str, member: str, family: str, born: str) -> dict[str, object]:
    return {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [{"system": MEMBERS, "value": member}],
        "name": [{"family": family}],
        "birthDate": born,
    }


def a_request(
    id_: str, patient: str, code: str, *, authored: str, status: str = "active", category: str = "x"
) -> dict[str, object]:
    return {
        "resourceType": "ServiceRequest",
        "id": id_,
        "status": status,
        "intent": "order",
        "category": [{"coding": [{"system": CATEGORIES, "code": category}]}],
        "code": {"coding": [{"system": "https://service.example", "code": code}]},
        "subject": named(patient),
        "authoredOn": authored,
    }


async def test_a_chain_asks_what_a_reference_names(client: httpx.AsyncClient) -> None:
    found = {query: await matches(client, f"{query}&_sort=_lastUpdated") for query in MATCHES}

    assert found == MATCHES


async def test_a_service_request_is_found_as_us_core_asks(client: httpx.AsyncClient) -> None:
    found = {
        query: await matches(client, f"ServiceRequest?{query}&_sort=_lastUpdated")
        for query in US_CORE
    }

    assert found == US_CORE
