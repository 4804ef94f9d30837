"""Bad input by every way in: refused with a reason as an OperationOutcome, and nothing stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from tests.api_client import a_bridge, a_client, register, the_outcome
from tests.console_stories import BRIDGES, CLINIC, HEART, PLAN
from tests.rest_requests import JSON_PATCH, a_bundle, a_person, all_rows, an_entry, created, send

from fhir_hub_bridge.fhir.bundle import MAX_ENTRIES
from fhir_hub_bridge.store.transaction import Store

# What stands in the place of a Patient's `"name":[]`; each is no FHIR, or no JSON at all.
BAD: dict[str, bytes] = {
    "too deep": b'"extension":' + b'[{"url":"x","extension":' * 80 + b"[]" + b"}]" * 80,
    "too large": b'"birthDate":"' + b"x" * (5 * 1024 * 1024) + b'"',
    "too many digits": b'"multipleBirthInteger":' + b"9" * 5000,
    "a number beyond a double": b'"multipleBirthInteger":1e999',
    "a key twice": b'"active":true,"active":false',
    "NaN": b'"multipleBirthInteger":NaN',
    "Infinity": b'"multipleBirthInteger":-Infinity',
    "half a surrogate pair": b'"name":[{"family":"\\ud83d"}]',
    "NUL": b'"name":[{"family":"a\\u0000b"}]',
    "a raw NUL": b'"name":[{"family":"a\0b"}]',
    "no UTF-8": b'"name":[{"family":"\xff\xfe"}]',
    "a comma too many": b'"active":true,',
    "single quotes": b"'active':true",
    "no JSON": b"<Patient/>",
}
INFORMED = {"too large": 413}


def a_body(bad: bytes, id_: str = "") -> bytes:
    own = f'"id":"{id_}",'.encode() if id_ else b""
    return b'{"resourceType":"Patient",' + own + bad + b"}"


def in_bundle(kind: str) -> Callable[[bytes, str], tuple[str, str, bytes, str]]:
    def write(bad: bytes, _: str) -> tuple[str, str, bytes, str]:
        hollow = json.dumps(a_bundle(kind, an_entry("POST", "Patient", {}))).encode()
        return "POST", "", hollow.replace(b'"resource": {}', b'"resource": ' + a_body(bad)), ""

    return write


# method, path, body and media type of a write with a bad part, for a Patient's id
WAYS: dict[str, Callable[[bytes, str], tuple[str, str, bytes, str]]] = {
    "create": lambda bad, _: ("POST", "Patient", a_body(bad), ""),
    "update": lambda bad, id_: ("PUT", f"Patient/{id_}", a_body(bad, id_), ""),
    "conditional update": lambda bad, _: ("PUT", "Patient?identifier=a|b", a_body(bad), ""),
    "patch": lambda bad, id_: (
        "PATCH",
        f"Patient/{id_}",
        b'[{"op":"add","path":"","value":' + a_body(bad, id_) + b"}]",
        JSON_PATCH,
    ),
    "transaction": in_bundle("transaction"),
    "batch": in_bundle("batch"),
}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    await register(store, [PLAN, CLINIC, HEART, BRIDGES])
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


@pytest.mark.parametrize("way", WAYS)
async def test_bad_bodies_are_refused_by_every_way_in(
    store: Store, client: httpx.AsyncClient, way: str
) -> None:
    known = await created(client, a_person())
    before = await all_rows(store)

    for what, bad in BAD.items():
        method, path, body, media_type = WAYS[way](bad, known.partition("/")[2])
        kind = {"Content_Type": media_type} if media_type else {}
        answer = await send(client, method, f"/fhir/{path}".rstrip("/"), body, **kind)

        assert answer.status_code == INFORMED.get(what, 400), (what, answer.text)
        issue = the_outcome(answer)
        assert issue["severity"] == "error"
        assert issue["details"]["text"]
    assert await all_rows(store) == before


@pytest.mark.parametrize("kind", ["transaction", "batch"])
@pytest.mark.parametrize("entries", [MAX_ENTRIES + 1, 5001])
async def test_a_bundle_with_too_many_entries_is_refused_whole(
    store: Store, client: httpx.AsyncClient, kind: str, entries: int
) -> None:
    before = await all_rows(store)
    bundle = a_bundle(kind, *[an_entry("POST", "Patient", a_person())] * entries)

    answer = await send(client, "POST", "/fhir", bundle)

    assert answer.status_code == 413
    issue = the_outcome(answer)
    assert (issue["code"], issue["expression"]) == ("too-costly", ["Bundle.entry"])
    assert await all_rows(store) == before


@pytest.mark.parametrize(
    "bundle",
    [
        {"resourceType": "Bundle", "type": "batch", "entry": {}},
        {"resourceType": "Bundle", "type": "transaction", "entry": "all"},
        {"resourceType": "Bundle", "type": "collection"},
        {"resourceType": "Bundle"},
        {"resourceType": "Patient", "type": "batch"},
        {"type": "batch"},
        {"resourceType": "Bundle", "type": ["batch"]},
    ],
)
async def test_what_is_no_bundle_of_requests_is_refused(
    store: Store, client: httpx.AsyncClient, bundle: dict[str, object]
) -> None:
    before = await all_rows(store)

    answer = await send(client, "POST", "/fhir", bundle)

    assert answer.status_code == 400
    the_outcome(answer)
    assert await all_rows(store) == before


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "GET",
        {},
        {"request": "GET Patient"},
        {"request": {"method": ["GET"], "url": "Patient"}},
        {"request": {"method": "GET", "url": 7}},
        {"request": {"method": "GET", "url": "../healthz"}},
        {"request": {"method": "GET", "url": "Patient/../../healthz"}},
        {"request": {"method": "GET", "url": "//elsewhere.example/Patient"}},
        {"request": {"method": "GET", "url": "Patient?name=a b\r\nX: y"}},
        {"request": {"method": "GET", "url": "Patient/%00"}},
        {"request": {"method": "GET", "url": "%2e%2e/healthz"}},
        {"request": {"method": "POST", "url": "Patient"}},
        {"request": {"method": "POST", "url": "Patient"}, "resource": 7},
        {"request": {"method": "POST", "url": "Patient/_search"}, "resource": a_person()},
        {"request": {"method": "PUT", "url": "Patient/1", "ifMatch": "\u2026"}, "resource": {}},
        {"request": {"method": "TRACE", "url": "Patient"}},
    ],
)
async def test_an_entry_that_is_no_request_spoils_only_itself_in_a_batch(
    store: Store, client: httpx.AsyncClient, entry: object
) -> None:
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    before = await all_rows(store)

    batch = await send(client, "POST", "/fhir", bundle)
    transaction = await send(client, "POST", "/fhir", bundle | {"type": "transaction"})

    assert batch.status_code == 200, batch.text
    response = batch.json()["entry"][0]["response"]
    assert response["status"][0] == "4", response
    assert response["outcome"]["issue"][0]["severity"] == "error"
    assert 400 <= transaction.status_code < 500, transaction.text
    the_outcome(transaction)
    assert await all_rows(store) == before


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("If-Match", "3"),
        ("If-Match", 'W/"1", W/"2"'),
        ("If-None-Exist", "identifier"),
        ("If-None-Exist", "colour=blue"),
        ("Content-Type", "application/fhir+xml"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "gzip"),
    ],
)
async def test_bad_headers_are_refused(
    store: Store, client: httpx.AsyncClient, header: str, value: str
) -> None:
    known = await created(client, a_person())
    before = await all_rows(store)
    method = "PUT" if header == "If-Match" else "POST"
    path, body = ("Patient", a_person("2"))
    if method == "PUT":
        path, body = known, a_person(id=known.partition("/")[2])

    answer = await send(client, method, f"/fhir/{path}", body, **{header.replace("-", "_"): value})

    assert answer.status_code in (400, 415), answer.text
    the_outcome(answer)
    assert await all_rows(store) == before
