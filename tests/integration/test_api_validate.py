"""$validate by HTTP, and the profiles that a write must keep."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, func, select
from tests.api_client import CLINIC, PLAN, a_bridge, a_client, a_task, keep, register, the_outcome
from tests.profile_builders import BASE, a_library, a_package, a_profile

from fhir_hub_bridge.api.registry import RESOURCES
from fhir_hub_bridge.fhir.packages import Library, Package
from fhir_hub_bridge.store.tables import resource
from fhir_hub_bridge.store.transaction import Store

URL = f"{BASE}/StructureDefinition/test"
FHIR_JSON = {"Content-Type": "application/fhir+json"}
INVARIANT = {
    "key": "my-1",
    "severity": "error",
    "human": "The owner is an organization.",
    "expression": "owner.resolve() is Organization",
}
PROFILE = a_profile(
    "Task",
    {"id": "Task", "constraint": [INVARIANT]},
    {"id": "Task.description", "min": 1},
    {"id": "Task.code", "binding": {"strength": "required", "valueSet": "urn:not-held"}},
)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    await register(store, [PLAN, CLINIC])
    async with a_client(a_bridge(store, library=a_library(PROFILE))) as open_client:
        yield open_client


async def rows(store: Store) -> int:
    def count(conn: Connection) -> int:
        return conn.execute(select(func.count()).select_from(resource)).scalar_one()

    return await store.read(count)


def told(response: httpx.Response) -> list[tuple[str, str]]:
    """Severity and rule of each issue of a 200."""
    the_outcome(response)
    assert response.status_code == 200
    return [
        (issue["severity"], issue["details"].get("coding", [{}])[0].get("code", ""))
        for issue in response.json()["issue"]
    ]


def parameters(task: dict[str, Any] | None = None, **others: str) -> dict[str, Any]:
    given: list[dict[str, Any]] = [{"name": "resource", "resource": task}] if task else []
    given += [{"name": name, "valueString": value} for name, value in others.items()]
    return {"resourceType": "Parameters", "parameter": given}


async def validate(
    client: httpx.AsyncClient, body: Any, path: str = "/fhir/Task/$validate"
) -> httpx.Response:
    return await client.post(path, json=body, headers=FHIR_JSON)


async def test_a_valid_resource_has_no_issues_and_nothing_is_stored(
    client: httpx.AsyncClient, store: Store
) -> None:
    answer = await validate(client, a_task("t1"))

    assert told(answer) == [("information", "")]
    assert await rows(store) == 0


async def test_what_is_wrong_by_r4_is_answered_with_200_and_its_place(
    client: httpx.AsyncClient,
) -> None:
    answer = await validate(client, a_task("t1", intent="nonsense"))

    assert told(answer) == [("error", "required-code"), ("information", "not-checked")]
    assert answer.json()["issue"][0]["expression"] == ["Task.intent"]


@pytest.mark.parametrize("way", ["query", "parameters", "meta"])
async def test_a_profile_is_named_in_the_query_in_parameters_or_by_the_resource(
    client: httpx.AsyncClient, way: str
) -> None:
    task = a_task("t1", code={"text": "x"})
    match way:
        case "query":
            answer = await validate(client, task, f"/fhir/Task/$validate?profile={URL}")
        case "parameters":
            answer = await validate(client, parameters(task, profile=URL))
        case _:
            answer = await validate(client, {**task, "meta": {"profile": [URL]}})

    assert sorted(told(answer)) == [
        ("error", "profile-cardinality"),
        ("information", "not-checked"),
        ("information", "not-checked"),
    ]


async def test_what_could_not_be_checked_is_named(client: httpx.AsyncClient) -> None:
    task = a_task("t1", description="x", code={"text": "x"})

    answer = await validate(client, task, f"/fhir/Task/$validate?profile={URL}")

    texts = " ".join(issue["details"]["text"] for issue in answer.json()["issue"])
    assert "my-1" in texts
    assert "urn:not-held" in texts


async def test_a_profile_that_is_not_held_is_a_warning(client: httpx.AsyncClient) -> None:
    answer = await validate(client, a_task("t1"), "/fhir/Task/$validate?profile=urn:unknown")

    assert told(answer) == [("error", "profile-unknown")]


async def test_a_stored_resource_is_validated_by_its_address(
    client: httpx.AsyncClient, store: Store
) -> None:
    await keep(store, a_task("t1"))

    by_get = await client.get(f"/fhir/Task/t1/$validate?profile={URL}")
    by_post = await validate(client, parameters(profile=URL), "/fhir/Task/t1/$validate")
    nowhere = await client.get("/fhir/Task/t2/$validate")

    assert ("error", "profile-cardinality") in told(by_get)
    assert told(by_post) == told(by_get)
    assert nowhere.status_code == 404


async def test_an_update_must_have_the_id_of_its_address(client: httpx.AsyncClient) -> None:
    path = "/fhir/Task/t2/$validate"

    assert told(await validate(client, parameters(a_task("t1"), mode="update"), path)) == [
        ("error", "id-differs")
    ]
    assert told(await validate(client, a_task("t1"), path)) == [("information", "")]


async def test_a_resource_of_another_type_is_told(client: httpx.AsyncClient) -> None:
    patient = {"resourceType": "Patient"}

    assert told(await validate(client, patient)) == [("error", "resource-type")]


@pytest.mark.parametrize(
    "body",
    [
        parameters(),
        parameters(a_task("t1"), mode="nonsense"),
        {"resourceType": "Parameters", "parameter": 1},
        {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": "x"}]},
    ],
)
async def test_what_cannot_be_read_is_answered_400(client: httpx.AsyncClient, body: Any) -> None:
    answer = await validate(client, body)

    assert answer.status_code == 400
    the_outcome(answer)


async def test_the_statement_lists_the_operation_for_every_type(client: httpx.AsyncClient) -> None:
    told_of = (await client.get("/fhir/metadata")).json()["rest"][0]["resource"]

    definition = "http://hl7.org/fhir/OperationDefinition/Resource-validate"
    assert len(told_of) == len(RESOURCES)
    assert all(
        {"name": "validate", "definition": definition} in entry["operation"] for entry in told_of
    )


async def test_a_write_must_keep_the_profiles_that_it_names(
    client: httpx.AsyncClient, store: Store
) -> None:
    before = await rows(store)
    task = a_task("t1", meta={"profile": [URL]})

    refused = await client.post("/fhir/Task", json=task, headers=FHIR_JSON)
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": task, "request": {"method": "POST", "url": "Task"}}],
    }
    refused_in_bundle = await client.post("/fhir", json=bundle, headers=FHIR_JSON)

    assert refused.status_code == refused_in_bundle.status_code == 422
    (issue,) = refused.json()["issue"]
    assert issue["expression"] == ["Task.description"]
    assert refused_in_bundle.json()["issue"][0]["expression"] == [
        "Bundle.entry[0].resource.description"
    ]
    assert await rows(store) == before


async def test_a_write_that_keeps_its_profile_or_names_one_that_is_not_held_is_stored(
    client: httpx.AsyncClient,
) -> None:
    note = {"resourceType": "Communication", "status": "completed"}
    kept = {"resourceType": "Communication", "status": "completed", "language": "en"}

    for body in ({**note, "meta": {"profile": ["urn:unknown"]}}, kept):
        answer = await client.post("/fhir/Communication", json=body, headers=FHIR_JSON)
        assert answer.status_code == 201


@pytest.mark.parametrize(("names", "is_large"), [(1, False), (1100, True)])
async def test_a_large_body_is_judged_in_a_thread_of_its_own(
    store: Store, names: int, is_large: bool
) -> None:
    threads: list[threading.Thread] = []

    def read() -> list[Package]:
        threads.append(threading.current_thread())
        return [a_package(a_profile("Patient"))]

    patient = {
        "resourceType": "Patient",
        "meta": {"profile": [URL]},
        "name": [{"text": f"{number} " + "x" * 1000} for number in range(names)],
    }
    await register(store, [PLAN, CLINIC])
    async with a_client(a_bridge(store, library=Library(read))) as client:
        answer = await client.post("/fhir/Patient", json=patient, headers=FHIR_JSON)

    assert answer.status_code == 201
    assert len(threads) == 1
    assert (threads[0] is not threading.current_thread()) == is_large
