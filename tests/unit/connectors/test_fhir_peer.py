from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from pytest_httpx import HTTPXMock, IteratorStream

from fhir_hub_bridge.connectors.fhir_answer import BODY_LIMIT
from fhir_hub_bridge.connectors.fhir_peer import FhirPeer
from fhir_hub_bridge.connectors.interface import (
    Accepted,
    Answer,
    Message,
    Refused,
    Unavailable,
    Unsendable,
)
from fhir_hub_bridge.referral.parties import Agreement

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
BASE = "https://ehr.example/fhir"
SYSTEM = "https://bridge.example/id/notice"
AGREEMENT = Agreement("fhir-push", f"{BASE}/", "2xx", date(2026, 1, 1))
PUT_SINGLY = replace(AGREEMENT, single_requests="put")
POST_SINGLY = replace(AGREEMENT, single_requests="post")

COMMUNICATION = b'{"resourceType":"Communication","status":"in-progress","payload":[]}'
TASK = b'{"resourceType":"Task","status":"completed","code":{"text":"72.50"}}'
BUNDLE = (
    b'{"resourceType":"Bundle","type":"transaction","entry":['
    b'{"resource":' + COMMUNICATION + b',"request":{"method":"PUT",'
    b'"url":"Communication?identifier=' + SYSTEM.encode() + b'|n-1"}},'
    b'{"resource":' + TASK + b',"request":{"method":"PUT",'
    b'"url":"Task?identifier=https://bridge.example/id/referral|t-1"}}]}'
)


def a_message(body: bytes = BUNDLE) -> Message:
    return Message("n-1", body, "application/fhir+json", hashlib.sha256(body).hexdigest())


@pytest.fixture
async def peer() -> AsyncIterator[FhirPeer]:
    opened = FhirPeer(deadline=timedelta(seconds=0.2))
    yield opened
    await opened.close()


async def send(
    peer: FhirPeer, *, agreement: Agreement = AGREEMENT, message: Message | None = None
) -> Answer:
    return await peer.send(message or a_message(), agreement=agreement, now=NOW)


async def test_the_frozen_bytes_go_to_the_base_unchanged(
    peer: FhirPeer, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_response(url=BASE, method="POST", status_code=200)

    answer = await send(peer)

    (request,) = httpx_mock.get_requests()
    assert answer == Accepted(200)
    assert request.content == BUNDLE
    assert request.headers["Content-Type"] == "application/fhir+json"
    assert request.headers["X-Notice-Id"] == request.headers["Idempotency-Key"] == "n-1"
    assert request.headers["Content-Length"] == str(len(BUNDLE))
    assert "Transfer-Encoding" not in request.headers


async def test_every_try_is_the_same_request(peer: FhirPeer, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(status_code=201)

    await send(peer)
    await send(peer)

    first, second = httpx_mock.get_requests()
    assert (first.url, first.content, first.headers) == (second.url, second.content, second.headers)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ({"status_code": 204}, Accepted(204)),
        ({"status_code": 200, "content": b"\x00garbage\xff"}, Accepted(200)),
        ({"status_code": 404}, Refused("HTTP 404", 404)),
        (
            {"status_code": 200, "html": "<html><body>Please log in</body></html>"},
            Refused("HTTP 200, but a web page and no FHIR", 200),
        ),
        (
            {"status_code": 200, "content": b" " * (BODY_LIMIT + 1)},
            Refused(f"HTTP 200, but more than {BODY_LIMIT} bytes of answer", 200),
        ),
        (
            {
                "status_code": 200,
                "json": {
                    "resourceType": "OperationOutcome",
                    "issue": [{"severity": "error", "code": "invalid"}],
                },
            },
            Refused("HTTP 200, but an OperationOutcome: error invalid", 200),
        ),
        (
            {"status_code": 503, "headers": {"Retry-After": "120"}},
            Unavailable("HTTP 503", 503, timedelta(minutes=2)),
        ),
        (
            {"status_code": 429, "headers": {"Retry-After": "Mon, 23 Nov 2026 18:01:00 GMT"}},
            Unavailable("HTTP 429", 429, timedelta(minutes=1)),
        ),
        (
            {"status_code": 200, "headers": {"Content-Encoding": "gzip"}, "content": b"no gzip"},
            Unavailable("no answer: DecodingError"),
        ),
    ],
)
async def test_odd_answers_are_answers(
    peer: FhirPeer, httpx_mock: HTTPXMock, response: dict[str, Any], answer: Answer
) -> None:
    httpx_mock.add_response(**response)

    assert await send(peer) == answer


async def test_a_redirect_is_not_followed(peer: FhirPeer, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=307, headers={"Location": "https://elsewhere.example/"})

    answer = await send(peer)

    assert answer == Refused("HTTP 307: redirects are not followed", 307)
    assert len(httpx_mock.get_requests()) == 1


async def test_a_huge_answer_is_read_to_the_limit_only(
    peer: FhirPeer, httpx_mock: HTTPXMock
) -> None:
    read: list[int] = []

    def without_end() -> Iterator[bytes]:
        while len(read) < 1000:
            read.append(1)
            yield b"x" * 65536

    httpx_mock.add_response(status_code=200, stream=IteratorStream(without_end()))

    answer = await send(peer)

    assert isinstance(answer, Refused)
    assert len(read) == BODY_LIMIT // 65536 + 1


async def test_a_partner_slower_than_the_deadline_gave_no_answer(
    peer: FhirPeer, httpx_mock: HTTPXMock
) -> None:
    async def too_late(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return httpx.Response(200)

    httpx_mock.add_callback(too_late)

    assert await send(peer) == Unavailable("no answer within 0.2 seconds")


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("Alma Sample"),
        httpx.ReadError("Alma Sample"),
        httpx.WriteError("Alma Sample"),
        httpx.RemoteProtocolError("Alma Sample"),
        httpx.ProxyError("Alma Sample"),
    ],
)
async def test_a_broken_connection_is_no_answer_and_its_text_is_kept_from_the_record(
    peer: FhirPeer, httpx_mock: HTTPXMock, trouble: httpx.TransportError
) -> None:
    httpx_mock.add_exception(trouble)

    answer = await send(peer)

    assert answer == Unavailable(f"no answer: {type(trouble).__name__}")


@pytest.mark.parametrize(
    "endpoint", ["", "ehr.example/fhir", "ftp://ehr.example", "http://", "https://[::bad"]
)
async def test_an_endpoint_that_is_no_web_address_is_for_a_person(
    peer: FhirPeer, endpoint: str
) -> None:
    answer = await send(peer, agreement=replace(AGREEMENT, endpoint=endpoint))

    assert isinstance(answer, Unsendable)


async def test_a_server_without_transactions_is_put_each_entry_under_our_id(
    peer: FhirPeer, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_response(status_code=201, is_reusable=True)

    answer = await send(peer, agreement=PUT_SINGLY)

    first, second = httpx_mock.get_requests()
    assert answer == Accepted(201)
    assert (first.method, str(first.url)) == ("PUT", f"{BASE}/Communication/n-1")
    assert (second.method, str(second.url)) == ("PUT", f"{BASE}/Task/t-1")
    assert orjson.loads(first.content)["id"] == "n-1"
    assert first.content == COMMUNICATION.replace(b'"status"', b'"id":"n-1","status"')
    assert first.headers["Idempotency-Key"] == "n-1"
    assert second.headers["Idempotency-Key"] == "n-1-2"


async def test_a_server_that_gives_its_own_ids_knows_an_entry_again_by_our_identifier(
    peer: FhirPeer, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_response(status_code=201, is_reusable=True)

    await send(peer, agreement=POST_SINGLY)

    first, second = httpx_mock.get_requests()
    assert (first.method, str(first.url)) == ("POST", f"{BASE}/Communication")
    assert first.headers["If-None-Exist"] == f"identifier={SYSTEM}|n-1"
    assert (first.content, second.content) == (COMMUNICATION, TASK)


async def test_the_first_single_request_not_taken_is_the_answer(
    peer: FhirPeer, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_response(status_code=503)

    answer = await send(peer, agreement=PUT_SINGLY)

    assert answer == Unavailable("HTTP 503", 503)
    assert len(httpx_mock.get_requests()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b'{"resourceType":"Bundle","entry":[]}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Task"}}]}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Task"},'
        b'"request":{"url":"Task"}}]}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"../x","id":"1"},'
        b'"request":{"url":"Task?a=b|1"}}]}',
    ],
)
@pytest.mark.parametrize("agreement", [PUT_SINGLY, POST_SINGLY], ids=["put", "post"])
async def test_bytes_that_cannot_be_sent_one_by_one_are_for_a_person(
    peer: FhirPeer, agreement: Agreement, body: bytes
) -> None:
    answer = await send(peer, agreement=agreement, message=a_message(body))

    assert isinstance(answer, Unsendable)
