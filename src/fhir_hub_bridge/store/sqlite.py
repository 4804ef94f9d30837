"""The store on SQLite: one writer thread that commits in groups, and a few reader threads.

Before it: `transaction`. After it: `jobs` carries units to the threads, `group_commit` is the
writer, `sqlite_file` the file.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.engine import URL

from fhir_hub_bridge.store.group_commit import GroupWriter
from fhir_hub_bridge.store.jobs import Job, JobQueue
from fhir_hub_bridge.store.sqlite_file import (
    ThreadConnection,
    as_ours,
    driver_of,
    prepare_file,
)
from fhir_hub_bridge.store.unit import P, StoreHealth, StoreLimits, T, Unit


async def open_sqlite(url: URL, *, limits: StoreLimits, allow_unsafe: bool) -> SqliteStore:
    """Make or open the file, and return the store. Errors as in `open_store`."""
    path = prepare_file(url)
    # Once here, so that a file that will not do is refused now and not at the first unit.
    try:
        await asyncio.to_thread(_try, ThreadConnection(path, allow_unsafe=allow_unsafe))
    except Exception as error:
        if (ours := as_ours(error)) is not error:
            raise ours from error
        raise
    return SqliteStore(path, limits, allow_unsafe=allow_unsafe)


class SqliteStore:
    """`transaction.Store` on a SQLite file, which other processes may use too."""

    dialect = "sqlite"

    def __init__(self, path: Path, limits: StoreLimits, *, allow_unsafe: bool) -> None:
        self._writes = JobQueue(size=limits.waiting, wait_seconds=limits.wait_seconds)
        self._reads = JobQueue(size=limits.waiting, wait_seconds=limits.wait_seconds)
        self._writer = GroupWriter(
            self._writes, ThreadConnection(path, allow_unsafe=allow_unsafe), limits
        )
        readers = [
            _Reader(self._reads, ThreadConnection(path, read_only=True, allow_unsafe=allow_unsafe))
            for _ in range(limits.readers)
        ]
        self._reader_threads = [_started(reader.run) for reader in readers]
        self._writer_thread = _started(self._writer.run)

    async def write(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `transaction.Store.write`."""
        answer: T = await self._writes.ask(lambda conn: unit(conn, *args, **kwargs))
        return answer

    async def read(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `transaction.Store.read`."""
        answer: T = await self._reads.ask(lambda conn: unit(conn, *args, **kwargs))
        return answer

    # Here every read is a transaction of its own, and sees one state.
    read_snapshot = read

    def health(self) -> StoreHealth:
        """See `transaction.Store.health`. Waiting are both reads and writes."""
        writes, oldest_write = self._writes.waiting()
        reads, oldest_read = self._reads.waiting()
        return StoreHealth(
            alive=not (self._writes.closed or self._reads.closed),
            waiting=writes + reads,
            oldest_wait_seconds=max(oldest_write, oldest_read),
            last_commit_at=self._writer.last_commit_at,
        )

    async def close(self) -> None:
        """See `transaction.Store.close`."""
        # The writer is the last: SQLite folds the write-ahead log in when a connection is closed
        # and no other is there.
        self._reads.close()
        for thread in self._reader_threads:
            await asyncio.to_thread(thread.join)
        self._writes.close()
        await asyncio.to_thread(self._writer_thread.join)


class _Reader:
    """Reads until its queue is closed and empty. `run` is the body of its thread."""

    def __init__(self, queue: JobQueue, connection: ThreadConnection) -> None:
        self._queue = queue
        self._connection = connection

    def run(self) -> None:
        """Take units one by one."""
        try:
            self._queue.serve(self._read)
        finally:
            self._connection.drop()

    def _read(self, jobs: list[Job]) -> None:
        (job,) = jobs
        try:
            conn = self._connection.get()
            driver_of(conn).execute("BEGIN")
            try:
                job.run(conn)
            finally:
                # Or the next unit would see the same old state, and the log grow without end.
                driver_of(conn).execute("ROLLBACK")
        except BaseException as error:  # noqa: BLE001  no unit may end the reader
            job.error = as_ours(error)
        if not self._connection.is_sound(in_transaction=False):
            self._connection.drop()


def _started(body: Callable[[], None]) -> threading.Thread:
    # A daemon: a process that ends without `close` must not hang. What is not answered is lost.
    thread = threading.Thread(target=body, name="store", daemon=True)
    thread.start()
    return thread


def _try(connection: ThreadConnection) -> None:
    try:
        connection.get()
    finally:
        connection.drop()
