"""The one writer of a SQLite file in this process: units that wait together share a COMMIT.

Each unit after the first has its own savepoint, so one that fails leaves the others whole. When a
group cannot be committed, each of its units runs again alone: a fault stays with its owner.
Before it: `jobs`. After it: the connections of `sqlite_file`.
"""

from __future__ import annotations

import random
import sqlite3
import time
from datetime import UTC, datetime

from sqlalchemy import Connection

from fhir_hub_bridge.errors import StoreBusy
from fhir_hub_bridge.store.jobs import Job, JobQueue
from fhir_hub_bridge.store.sqlite_file import (
    BUSY_TIMEOUT_MS,
    ThreadConnection,
    as_ours,
    driver_of,
    is_locked,
)
from fhir_hub_bridge.store.unit import StoreLimits, UnitMisbehaved


class _GroupBroken(Exception):
    """The transaction of a group is over or in doubt."""


class GroupWriter:
    """Writes until its queue is closed and empty. `run` is the body of its thread."""

    def __init__(self, queue: JobQueue, connection: ThreadConnection, limits: StoreLimits) -> None:
        self._queue = queue
        self._connection = connection
        self._limits = limits
        self.last_commit_at: datetime | None = None

    def run(self) -> None:
        """Take units, in groups of what waits, until there are no more."""
        try:
            self._queue.serve(self._write)
        finally:
            self._connection.drop()

    def _write(self, group: list[Job]) -> None:
        try:
            self._write_together(group)
        except _GroupBroken:
            self._connection.drop()
            for job in group:
                self._write_alone(job)

    def _write_together(self, group: list[Job]) -> None:
        """Write the one job of `group`, and with it all that wait by then: they join the group."""
        (first,) = group
        try:
            conn = self._begin(first.deadline)
        except Exception as error:  # noqa: BLE001  whatever it is, it is for the caller
            first.error = as_ours(error)
            if not isinstance(error, StoreBusy):
                self._connection.drop()
            return
        driver = driver_of(conn)
        stop_at = time.monotonic() + self._limits.group_seconds
        try:
            # The first needs no savepoint: until it is through, the transaction is its own.
            if not self._attempt(first, conn):
                driver.execute("ROLLBACK")
                return
            while len(group) < self._limits.group_units and time.monotonic() < stop_at:
                job = self._queue.take_waiting()
                if job is None:
                    break
                group.append(job)
                driver.execute("SAVEPOINT unit")
                if not self._attempt(job, conn):
                    driver.execute("ROLLBACK TO unit")
                driver.execute("RELEASE unit")
            driver.execute("COMMIT")
        except sqlite3.Error as error:
            raise _GroupBroken from error
        self.last_commit_at = datetime.now(UTC)

    def _attempt(self, job: Job, conn: Connection) -> bool:
        """Run a unit; True if it went well. Raises _GroupBroken if its transaction is no more."""
        try:
            job.run(conn)
        except BaseException as error:  # noqa: BLE001  no unit may end the writer
            job.error = as_ours(error)
        if not self._connection.is_sound(in_transaction=True):
            raise _GroupBroken
        return job.error is None

    def _write_alone(self, job: Job) -> None:
        job.error = None
        committing = False
        try:
            conn = self._begin(job.deadline)
            job.run(conn)
            if not self._connection.is_sound(in_transaction=True):
                raise UnitMisbehaved  # noqa: TRY301
            committing = True
            driver_of(conn).execute("COMMIT")
            self.last_commit_at = datetime.now(UTC)
        except BaseException as error:  # noqa: BLE001  no unit may end the writer
            job.error = as_ours(error, committing=committing)
            # Rare enough that a new connection costs nothing; closing rolls back.
            self._connection.drop()

    def _begin(self, deadline: float) -> Connection:
        """A connection that holds the file's write lock. Raises StoreBusy at `deadline`.

        Other processes write the same file, so the lock is asked for again and again; SQLite's own
        waiting cannot be cut at a deadline and sleeps up to 0.1 s when the lock is free.
        """
        conn = self._connection.get()
        driver = driver_of(conn)
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    driver.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if not is_locked(error):
                        raise
                    if time.monotonic() > deadline:
                        raise StoreBusy from error
                    time.sleep(random.uniform(0.0005, 0.004))
                else:
                    return conn
        finally:
            driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
