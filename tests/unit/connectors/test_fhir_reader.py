"""What the reader makes of a partner's server; it reads nothing but what it was sent to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from fhir_hub_bridge.connectors.fhir_reader import FhirReader, Found, NoAnswer, NotFound, Reply
from fhir_hub_bridge.fhir.codec import DEFAULT_LIMITS

TASK = b'{"resourceType":"Task","id":"t1"}'


class Server:
    def __init__(self, status: str = "200 OK", body: bytes = TASK, *, waits: float = 0) -> None:
        self.answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/fhir+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body
        self.waits = waits
        self.heads: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        await asyncio.sleep(self.waits)
        writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    async with await asyncio.start_server(server.talk, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/fhir"


async def read(server: Server, path: str = "Task/t1", **query: str) -> Reply:
    reader = FhirReader(deadline=timedelta(seconds=0.5))
    try:
        async with listening(server) as base:
            return await reader.get(base, path, query or None)
    finally:
        await reader.close()


async def test_a_resource_is_read_where_it_is() -> None:
    server = Server()

    reply = await read(server, "Task", identifier="urn:system|t1")

    assert reply == Found({"resourceType": "Task", "id": "t1"})
    first, *headers = server.heads[0].splitlines()
    assert first == "GET /fhir/Task?identifier=urn%3Asystem%7Ct1 HTTP/1.1"
    assert "accept: application/fhir+json" in [header.lower() for header in headers]
    assert not [header for header in headers if header.lower().startswith("authorization")]


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "403 Forbidden", "302 Found"])
async def test_a_definite_no_is_no_and_a_redirect_is_not_followed(status: str) -> None:
    server = Server(status)

    reply = await read(server)

    assert isinstance(reply, NotFound)
    assert reply.status == int(status[:3])
    assert len(server.heads) == 1


@pytest.mark.parametrize("status", ["500 Oh", "503 Busy", "429 Slowly"])
async def test_trouble_there_is_no_answer(status: str) -> None:
    assert isinstance(await read(Server(status)), NoAnswer)


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"id": "t1"}', b'{"a":1,"a":2}', b" " * (DEFAULT_LIMITS.size_bytes + 1)],
    ids=["a page", "a list", "no type", "a key twice", "too much"],
)
async def test_what_is_no_resource_is_not_taken(body: bytes) -> None:
    assert isinstance(await read(Server(body=body)), NotFound)


async def test_one_deadline_covers_all() -> None:
    assert isinstance(await read(Server(waits=2)), NoAnswer)


async def test_a_server_that_is_not_there_is_no_answer() -> None:
    reader = FhirReader(deadline=timedelta(seconds=0.5))

    assert isinstance(await reader.get("http://127.0.0.1:9/fhir", "Task/t1"), NoAnswer)


@pytest.mark.parametrize("endpoint", ["/a/folder", "file:///etc", "ftp://x", ""])
async def test_an_endpoint_that_is_no_web_address_is_not_asked(endpoint: str) -> None:
    assert isinstance(await FhirReader().get(endpoint, "Task/t1"), NotFound)
