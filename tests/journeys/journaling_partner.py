"""A pretend referring entity's server: what it answers for is on its disk first.

It knows just enough HTTP for a POST with a length, and keeps connections open.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ANSWER = json.dumps(
    {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": "201 Created"}}],
    }
).encode()
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n"
    b"Content-Length: " + str(len(ANSWER)).encode() + b"\r\n\r\n"
)


def serve(journal: Path, announce: Connection) -> None:
    """The body of a process: announces its port, then serves until it is ended."""
    asyncio.run(_serve(journal, announce))


def entries_of(journal: Path) -> list[dict[str, Any]]:
    """What it got, in order; a line being written is left out."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [json.loads(line) for line in lines]


async def _serve(journal: Path, announce: Connection) -> None:
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = await reader.readexactly(int(headers["content-length"]))
                line = {
                    "notice": headers["x-notice-id"],
                    "key": headers["idempotency-key"],
                    "sha256": hashlib.sha256(body).hexdigest(),
                    "request": head[0],
                }
                os.write(descriptor, json.dumps(line).encode() + b"\n")
                os.fsync(descriptor)
                writer.write(HEAD + ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side is gone; half a request is no request
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    announce.send(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()
