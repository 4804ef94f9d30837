"""Load over HTTP: so many connections, each sending its next request when it has its answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

CONNECTIONS = 16

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Result:
    """What a load found: seconds of each answer, the whole time, statuses other than 2xx."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


def post(base: str, path: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    host = urlsplit(base).netloc
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/fhir+json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(base: str, path: str) -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(base).netloc}\r\n\r\n".encode()


async def run(
    base: str,
    requests: Iterator[bytes],
    *,
    seconds: float = 0.0,
    connections: int = CONNECTIONS,
) -> Result:
    """Send requests for so many seconds, or until there are no more when `seconds` is 0.

    Raises RuntimeError when an answer was no success: then the figure would mean nothing.
    """
    address = urlsplit(base)
    host, port = str(address.hostname), int(address.port or 80)
    result = Result()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    until = started + seconds if seconds else float("inf")
    done = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(
            lambda: _Connection(requests, result, until), host, port
        )
        done.append(protocol.done)
    await asyncio.gather(*done)
    result.seconds = time.perf_counter() - started
    if result.failed:
        raise RuntimeError(f"{len(result.failed)} failed, the first: {result.failed[0]}")
    return result


class _Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, requests: Iterator[bytes], result: Result, until: float) -> None:
        self._requests = requests
        self._result = result
        self._until = until
        self._unread = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._next()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, found, body = self._unread.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._result.latencies.append(time.perf_counter() - self._sent_at)
        if not head.startswith(b"HTTP/1.1 2"):
            self._result.failed.append((head[:40] + b" " + body[:300]).decode(errors="replace"))
        self._unread = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._result.failed.append(f"connection lost: {exc}")
            self.done.set_result(None)

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None) if time.perf_counter() < self._until else None
        if request is None:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)
