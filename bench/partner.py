"""A partner's FHIR server that answers every request 200 after so many milliseconds.

`python -m bench.partner 20` prints `ready http://127.0.0.1:PORT` and runs until it is stopped.
As little as can be, so that what is measured is the bridge.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BODY = b'{"resourceType":"Bundle","type":"transaction-response"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
    + _BODY
)


class _Slow(asyncio.Protocol):
    """One connection; answers in order, each `delay` seconds after its request was read."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, found, body = self._unread.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        wanted = int(length[1]) if length else 0
        if len(body) >= wanted:
            self._unread = body[wanted:]
            asyncio.get_running_loop().call_later(self._delay, self._answer)

    def _answer(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def _serve(delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Slow(delay), "127.0.0.1", 0)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print(f"ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1]) / 1000))
