"""read, vread, history-instance and the capability statement, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from tests.api_client import BASE, CLINIC, a_bridge, a_client, a_task, keep, register, the_outcome

from fhir_hub_bridge.api.app import RUN, build_app
from fhir_hub_bridge.api.registry import CAPABILITIES, RESOURCES, SYSTEM
from fhir_hub_bridge.errors import Misconfigured
from fhir_hub_bridge.fhir.search import PARAMETERS
from fhir_hub_bridge.store.transaction import Store


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


async def test_read_gives_the_current_version(store: Store, client: httpx.AsyncClient) -> None:
    await keep(store, a_task("t1"))
    await keep(store, a_task("t1", status="accepted"), version=2)

    answer = await client.get("/fhir/Task/t1")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.headers["etag"] == 'W/"2"'
    assert answer.headers["last-modified"] == "Fri, 20 Nov 2026 20:00:00 GMT"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["status"] == "accepted"
    assert answer.json()["meta"]["versionId"] == "2"


async def test_read_answers_304_to_who_has_the_version(
    store: Store, client: httpx.AsyncClient
) -> None:
    await keep(store, a_task("t1"))

    same = await client.get("/fhir/Task/t1", headers={"If-None-Match": 'W/"1"'})
    other = await client.get("/fhir/Task/t1", headers={"If-None-Match": 'W/"11"'})

    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == 'W/"1"'
    assert other.status_code == 200


async def test_vread_gives_an_old_version_for_ever(store: Store, client: httpx.AsyncClient) -> None:
    await keep(store, a_task("t1"))
    await keep(store, a_task("t1", status="accepted"), version=2)

    answer = await client.get("/fhir/Task/t1/_history/1")

    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.json()["status"] == "requested"


async def test_history_lists_all_versions_newest_first(
    store: Store, client: httpx.AsyncClient
) -> None:
    await keep(store, a_task("t1"))
    await keep(store, a_task("t1", status="accepted"), version=2)

    answer = await client.get("/fhir/Task/t1/_history")

    bundle = answer.json()
    assert answer.status_code == 200
    assert (bundle["type"], bundle["total"]) == ("history", 2)
    assert [entry["resource"]["status"] for entry in bundle["entry"]] == ["accepted", "requested"]
    assert [entry["request"]["method"] for entry in bundle["entry"]] == ["PUT", "POST"]
    assert bundle["link"][0]["url"] == f"{BASE}/fhir/Task/t1/_history"


NOT_STORED = (
    "/fhir/Task/nobody",
    "/fhir/Task/not%20an%20id",
    "/fhir/Task/t1/_history/2",
    "/fhir/Task/t1/_history/two",
    "/fhir/Patient/nobody/_history",
)


async def test_what_is_not_stored_is_not_found(store: Store, client: httpx.AsyncClient) -> None:
    await keep(store, a_task("t1"))

    for path in NOT_STORED:
        answer = await client.get(path)

        assert answer.status_code == 404, path
        assert the_outcome(answer)["code"] == "not-found"


NOT_SERVED = (
    "/fhir/MedicationRequest/1",
    "/fhir/Nonsense",
    "/fhir/Task/t1/x/y/z",
)


async def test_what_is_not_served_is_not_supported(client: httpx.AsyncClient) -> None:
    for path in NOT_SERVED:
        answer = await client.get(path)

        assert answer.status_code == 404, path
        assert the_outcome(answer)["code"] == "not-supported"


async def test_another_address_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get("/favicon.ico")

    assert answer.status_code == 404
    assert the_outcome(answer)["code"] == "not-found"


OTHER_METHODS = (
    ("POST", "/fhir/Task/t1", {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"}),
    ("DELETE", "/fhir/Task", {"GET", "HEAD", "OPTIONS", "POST", "PUT"}),
    ("PUT", "/fhir/AuditEvent/a1", {"GET", "HEAD", "OPTIONS"}),
    ("POST", "/fhir/AuditEvent", {"GET", "HEAD", "OPTIONS"}),
    ("GET", "/fhir", {"OPTIONS", "POST"}),
    ("PATCH", "/fhir/metadata", {"GET", "HEAD", "OPTIONS"}),
)


async def test_another_method_is_told_which_are_right(client: httpx.AsyncClient) -> None:
    for method, path, allowed in OTHER_METHODS:
        answer = await client.request(method, path)

        assert answer.status_code == 405, (method, path)
        assert set(answer.headers["allow"].split(", ")) == allowed
        assert the_outcome(answer)["code"] == "not-supported"


ACCEPTED = (
    "application/fhir+json",
    "application/json",
    "*/*",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "application/fhir+json; fhirVersion=4.0",
    'application/fhir+xml;q=0.4, application/fhir+json;q=0.9;charset="utf-8"',
)


async def test_json_is_served_to_whoever_takes_it(client: httpx.AsyncClient) -> None:
    answers = {a: await client.get("/fhir/metadata", headers={"Accept": a}) for a in ACCEPTED}

    assert {a: r.status_code for a, r in answers.items()} == dict.fromkeys(ACCEPTED, 200)


NOT_ACCEPTED = (
    ("text/turtle", ""),
    ("application/fhir+json;q=0", ""),
    ("application/fhir+xml;q=0.000, application/fhir+json;q=0", ""),
    ("application/fhir+json;q=0, application/fhir+xml;q=0, */*", ""),
    ("application/fhir+json; fhirVersion=5.0", ""),
    ("application/fhir+xml; fhirVersion=3.0", ""),
    ("application/fhir+json", "?_format=ttl"),
    ("application/fhir+json", "?_format=text/turtle"),
    ("application/fhir+xml", "?_format=application/fhir%2Bxml;fhirVersion=5.0"),
)


async def test_other_representations_are_not_acceptable(client: httpx.AsyncClient) -> None:
    for accept, query in NOT_ACCEPTED:
        answer = await client.get(f"/fhir/metadata{query}", headers={"Accept": accept})

        assert answer.status_code == 406, (accept, query)
        assert the_outcome(answer)["code"] == "not-supported"


FORMATS = (
    "json",
    "application/fhir+json",
    "application/fhir%2Bjson",
)


async def test_format_stands_over_accept(client: httpx.AsyncClient) -> None:
    for wanted in FORMATS:
        answer = await client.get(
            f"/fhir/metadata?_format={wanted}", headers={"Accept": "application/fhir+xml"}
        )

        assert answer.status_code == 200, wanted


async def test_the_capability_statement_tells_what_is_routed(client: httpx.AsyncClient) -> None:
    statement = (await client.get("/fhir/metadata")).json()

    CapabilityStatement.model_validate(statement)
    assert statement["fhirVersion"] == "4.0.1"
    assert statement["implementation"]["url"] == f"{BASE}/fhir"
    rest = statement["rest"][0]
    assert "no login" in rest["security"]["description"]
    system = [interaction["code"] for interaction in rest["interaction"]]
    assert system == ["transaction", "batch", "history-system"]
    told = {entry["type"]: entry for entry in rest["resource"]}
    assert [param["name"] for param in told["Task"]["searchParam"]] == list(PARAMETERS["Task"])
    assert all(param["definition"] for param in told["Task"]["searchParam"])
    assert {"*", "Task:focus", "Task:output"} <= set(told["Task"]["searchInclude"])
    assert {"Provenance:target", "Task:part-of"} <= set(told["Task"]["searchRevInclude"])
    assert rest["compartment"] == ["http://hl7.org/fhir/CompartmentDefinition/patient"]
    for type_, entry in told.items():
        codes = {interaction["code"] for interaction in entry["interaction"]}
        by_instance = await client.request("OPTIONS", f"/fhir/{type_}/1")
        by_type = await client.request("OPTIONS", f"/fhir/{type_}")
        allowed = by_instance.headers["allow"]
        assert ("PUT" in allowed) == ("update" in codes)
        assert ("PATCH" in allowed) == ("patch" in codes)
        assert ("DELETE" in allowed) == ("delete" in codes)
        assert ("POST" in by_type.headers.get("allow", "")) == ("create" in codes)
        assert ("GET" in by_type.headers.get("allow", "")) == ("search-type" in codes)
        assert entry["conditionalCreate"] == entry["conditionalUpdate"] == ("update" in codes)
        assert entry["updateCreate"] is False


async def test_every_interaction_of_the_table_has_its_function() -> None:
    listed = {i for s in RESOURCES for i in (*s.interactions, *s.operations)}

    assert listed | {*SYSTEM, CAPABILITIES} == set(RUN)


async def test_an_unknown_partner_is_forbidden(store: Store, client: httpx.AsyncClient) -> None:
    await register(store, [CLINIC])
    await keep(store, a_task("t1"))

    known = await client.get("/fhir/Task/t1", headers={"X-Partner": "clinic"})
    unknown = await client.get("/fhir/Task/t1", headers={"X-Partner": "nobody"})

    assert known.status_code == 200
    assert unknown.status_code == 403
    assert the_outcome(unknown)["code"] == "forbidden"


async def test_a_request_id_is_echoed_or_minted(client: httpx.AsyncClient) -> None:
    echoed = await client.get("/fhir/metadata", headers={"X-Request-Id": "ehr-42"})
    minted = await client.get("/fhir/metadata", headers={"X-Request-Id": "<script>"})

    assert echoed.headers["x-request-id"] == "ehr-42"
    assert minted.headers["x-request-id"] not in ("", "<script>")


async def test_a_foreign_host_name_is_not_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/metadata", headers={"Host": "evil.example"})

    assert answer.status_code == 421
    assert the_outcome(answer)["code"] == "not-supported"


async def test_a_failure_tells_its_request_and_nothing_else(
    store: Store, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(conn: object) -> object:
        raise RuntimeError("Jane Doe, born 1970")

    store.read = lambda *args, **kwargs: broken(None)  # type: ignore[method-assign, assignment]

    answer = await client.get("/fhir/Task/t1", headers={"X-Request-Id": "r-7"})

    assert answer.status_code == 500
    assert the_outcome(answer)["code"] == "exception"
    assert "r-7" in answer.text
    printed = capsys.readouterr()
    assert "Jane" not in answer.text + printed.out + printed.err
    assert "r-7" in printed.out + printed.err


async def test_a_busy_store_asks_to_come_again(store: Store) -> None:
    async with a_client(a_bridge(store)) as client:
        await store.close()

        answer = await client.get("/fhir/Task/t1")
        ready = await client.get("/readyz")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert the_outcome(answer)["code"] == "transient"
    assert ready.status_code == 503


async def test_health_is_told(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "up"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_without_login_only_open_mode_is_served(store: Store) -> None:
    with pytest.raises(Misconfigured):
        build_app(a_bridge(store), open_mode=False)
