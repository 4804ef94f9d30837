"""HTTP connections to partners' servers, kept open for a few seconds and used again.

Each is an httpx transport with room for one connection: httpx's shared pool looks at every open
connection whenever a request begins or ends, which at 32 sends at once took three quarters of a
worker's time. A bare transport follows no redirect, keeps no cookie and reads no environment.
Used by `fhir_peer`.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx

# Servers commonly close an idle connection after 5 seconds; we are to be first.
_IDLE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: httpx.AsyncHTTPTransport
    since: float


class HttpConnections:
    """As many connections as there are sends at once; belongs to one event loop."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._idle: defaultdict[str, deque[_Idle]] = defaultdict(deque)

    @asynccontextmanager
    async def borrowed(self, server: str) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """A connection nobody else is using, still open to `server` if one is idle."""
        idle = self._idle[server]
        connection = idle.pop().connection if idle else self._opened()
        try:
            yield connection
        except BaseException:
            await connection.aclose()
            raise
        idle.append(_Idle(connection, time.monotonic()))
        await self._close_idle(older_than=_IDLE_SECONDS)

    async def close(self) -> None:
        """Close all that are not in use."""
        await self._close_idle(older_than=0)

    def _opened(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_SECONDS)
        return httpx.AsyncHTTPTransport(verify=self._tls, limits=limits, trust_env=False)

    async def _close_idle(self, *, older_than: float) -> None:
        limit = time.monotonic() - older_than
        for idle in self._idle.values():
            while idle and idle[0].since <= limit:
                await idle.popleft().connection.aclose()
