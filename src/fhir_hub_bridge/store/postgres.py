"""The store on PostgreSQL: as many units at once as there are connections, the others wait.

A started write is a task of its own behind a shield; a read is one round trip, without BEGIN.
Before it: `transaction`. After it: `postgres_server`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from fhir_hub_bridge.errors import Misconfigured, StoreBusy
from fhir_hub_bridge.store.postgres_server import (
    ServerConnection,
    as_ours,
    faults_of_server,
    make_engine,
    sqlstate,
)
from fhir_hub_bridge.store.unit import P, StoreHealth, StoreLimits, T, Unit, Work

_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRY_AGAIN = ("40001", "40P01")  # serialization failure, deadlock: the unit runs again at once
_PAUSES = (0.01, 0.05, 0.2, 0.0)  # seconds after the first, second, third and fourth try


async def open_postgres(url: URL, *, limits: StoreLimits, allow_unsafe: bool) -> PostgresStore:
    """Connect, judge the server's settings, and return the store. Errors as in `open_store`."""
    engine = make_engine(url, limits)
    try:
        faults = await faults_of_server(engine)
    except Exception as error:
        if as_ours(error):
            raise StoreBusy("PostgreSQL does not answer; nothing was stored.") from error
        # The driver's text names the database and user, never the password.
        cause = getattr(error, "orig", error)
        raise Misconfigured(f"PostgreSQL refuses this database URL: {cause}") from error
    if faults and not allow_unsafe:
        raise Misconfigured(f"PostgreSQL would lose what it was told to keep: {'; '.join(faults)}.")
    return PostgresStore(engine, limits)


class PostgresStore:
    """`transaction.Store` on PostgreSQL."""

    dialect = "postgresql"

    def __init__(self, engine: AsyncEngine, limits: StoreLimits) -> None:
        self._limits = limits
        self._idle = [ServerConnection(engine) for _ in range(limits.connections)]
        # Waiting for one of them: bounded, timed, first come first served, cancelled without loss.
        self._slots = asyncio.Semaphore(limits.connections)
        self._waiting: dict[object, float] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._last_commit_at: datetime | None = None

    async def write(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `transaction.Store.write`."""
        connection = await self._take_connection()
        task = asyncio.create_task(
            self._write_to_the_end(connection, lambda conn: unit(conn, *args, **kwargs))
        )
        self._running.add(task)
        task.add_done_callback(self._write_ended)
        answer: T = await asyncio.shield(task)
        return answer

    async def read(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `transaction.Store.read`."""
        answer: T = await self._read(lambda conn: unit(conn, *args, **kwargs))
        return answer

    async def read_snapshot(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `transaction.Store.read_snapshot`."""
        answer: T = await self._read(
            lambda conn: unit(conn, *args, **kwargs), begin=_SNAPSHOT, end="ROLLBACK"
        )
        return answer

    def health(self) -> StoreHealth:
        """See `transaction.Store.health`."""
        first = next(iter(self._waiting.values()), None)
        return StoreHealth(
            alive=not self._closed,
            waiting=len(self._waiting),
            oldest_wait_seconds=0.0 if first is None else time.monotonic() - first,
            last_commit_at=self._last_commit_at,
        )

    async def close(self) -> None:
        """See `transaction.Store.close`."""
        if self._closed:
            return
        self._closed = True
        # The slots are handed out first come first served: whoever has them all has waited for
        # every accepted unit.
        for _ in range(self._limits.connections):
            await self._slots.acquire()
        for connection in self._idle:
            await connection.close()

    async def _take_connection(self) -> ServerConnection:
        if self._closed:
            raise StoreBusy("The store is closed; nothing was stored.")
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        return self._idle.pop()

    async def _wait_for_slot(self) -> None:
        if len(self._waiting) >= self._limits.waiting:
            raise StoreBusy
        ticket = object()
        self._waiting[ticket] = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise StoreBusy from None
        finally:
            del self._waiting[ticket]

    def _give_back(self, connection: ServerConnection) -> None:
        self._idle.append(connection)
        self._slots.release()

    def _write_ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marked as seen: its caller may have been cancelled meanwhile

    async def _write_to_the_end(self, connection: ServerConnection, work: Work) -> Any:
        try:
            for pause in _PAUSES:
                try:
                    answer = await connection.run(work, begin=_WRITE, end="COMMIT")
                except (DBAPIError, asyncpg.PostgresError) as error:
                    if sqlstate(error) not in _TRY_AGAIN:
                        raise
                else:
                    self._last_commit_at = datetime.now(UTC)
                    return answer
                await asyncio.sleep(pause)
            raise StoreBusy("Too many others changed the same rows; nothing was stored.")
        finally:
            self._give_back(connection)

    async def _read(self, work: Work, *, begin: str = "", end: str = "") -> Any:
        connection = await self._take_connection()
        try:
            return await connection.run(work, begin=begin, end=end)
        finally:
            self._give_back(connection)
