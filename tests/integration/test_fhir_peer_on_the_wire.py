"""The FHIR connector against a real socket: what connections do when servers misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest

from fhir_hub_bridge.connectors import http_connections
from fhir_hub_bridge.connectors.fhir_peer import FhirPeer
from fhir_hub_bridge.connectors.interface import Accepted, Answer, Message, Unavailable
from fhir_hub_bridge.referral.parties import Agreement

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
BODY = b'{"resourceType":"Bundle"}' * 40
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PretendServer:
    def __init__(self) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []
        self.gone = asyncio.Event()
        self.endpoint = ""

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(length))


@asynccontextmanager
async def listening(server: PretendServer, talk: Talk) -> AsyncIterator[FhirPeer]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            server.gone.set()

    peer = FhirPeer(deadline=timedelta(seconds=0.5))
    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listener:
        server.endpoint = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/fhir"
        yield peer
        await peer.close()


async def send(peer: FhirPeer, server: PretendServer) -> Answer:
    agreement = Agreement("fhir-push", server.endpoint, "2xx", date(2026, 1, 1))
    message = Message("n-1", BODY, "application/fhir+json", "")
    return await peer.send(message, agreement=agreement, now=datetime.now(UTC))


async def test_a_connection_is_used_again() -> None:
    server = PretendServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            writer.write(OK)

    async with listening(server, talk) as peer:
        answers = [await send(peer, server) for _ in range(5)]

    assert answers == [Accepted(204)] * 5
    assert server.connections == 1
    assert server.bodies == [BODY] * 5


async def test_sends_at_the_same_time_have_a_connection_each() -> None:
    server = PretendServer()
    all_here = asyncio.Barrier(6)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        await all_here.wait()
        writer.write(OK)
        await reader.read()

    async with listening(server, talk) as peer:
        answers = await asyncio.gather(*(send(peer, server) for _ in range(6)))

    assert answers == [Accepted(204)] * 6
    assert server.connections == 6


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    server = PretendServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)

    async with listening(server, talk) as peer:
        answers = []
        for _ in range(3):
            answers.append(await send(peer, server))
            await asyncio.sleep(0.02)

    assert answers == [Accepted(204)] * 3


async def test_an_idle_connection_is_closed_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "_IDLE_SECONDS", -1.0)
    server = PretendServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)
        await reader.read()

    async with listening(server, talk) as peer:
        await send(peer, server)
        await asyncio.wait_for(server.gone.wait(), 2)


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"SSH-2.0-pretend\r\n\r\n",
    ],
)
async def test_a_lost_or_broken_answer_is_no_answer(half: bytes) -> None:
    server = PretendServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(half)

    async with listening(server, talk) as peer:
        answer = await send(peer, server)

    assert answer == Unavailable("no answer: RemoteProtocolError")


async def test_a_server_that_drips_its_answer_is_cut_off_at_the_deadline() -> None:
    server = PretendServer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with listening(server, talk) as peer:
        before = time.monotonic()
        answer = await send(peer, server)
        took = time.monotonic() - before

    assert answer == Unavailable("no answer within 0.5 seconds")
    assert took < 3


async def test_a_server_that_never_reads_is_cut_off_at_the_deadline() -> None:
    server = PretendServer()

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    async with listening(server, talk) as peer:
        answer = await send(peer, server)

    assert answer == Unavailable("no answer within 0.5 seconds")


async def test_a_server_that_is_not_there_gave_no_answer() -> None:
    server = PretendServer()
    async with listening(server, _nothing) as peer:
        pass

    answer = await send(peer, server)

    assert answer == Unavailable("no answer: ConnectError")


async def _nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    return None
