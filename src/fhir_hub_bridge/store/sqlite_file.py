"""A SQLite file and its connections: write-ahead log, synchronous=FULL, foreign keys.

Before it: `sqlite` and `group_commit`. https://www.sqlite.org/pragma.html says what is asked for.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from fhir_hub_bridge.errors import BadSetting, Misconfigured, OutcomeUnknown, StoreBusy
from fhir_hub_bridge.store.unit import lend, refuse_transaction_statements

BUSY_TIMEOUT_MS = 5000

_PRAGMAS = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",  # first: the others may have to wait
    "journal_mode = WAL",
    "synchronous = FULL",
    "fullfsync = ON",  # on a Mac fsync alone does not reach the disk
    "checkpoint_fullfsync = ON",
    "foreign_keys = ON",
    "cache_size = -8000",  # KiB
    "journal_size_limit = 67108864",
)
_EXPECTED = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

# https://www.sqlite.org/rescode.html: nothing is stored, and later it may be
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BUSY = _LOCKED | {
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def prepare_file(url: URL) -> Path:
    """The file `url` names, made with its folder if missing, for its owner only.

    Raises BadSetting for a database in memory or a URL with parameters, Misconfigured for a place
    that cannot be written.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise BadSetting("The database must be a file: sqlite:///path.")
    if url.query or url.host:
        raise BadSetting("sqlite:///path takes no host and no parameters.")
    path = Path(url.database).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise Misconfigured(f"The database file cannot be opened: {error}") from error
    return path


class ThreadConnection:
    """The one connection of a thread: made when first asked for, thrown away when in doubt."""

    def __init__(self, path: Path, *, read_only: bool = False, allow_unsafe: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._allow_unsafe = allow_unsafe
        self._conn: Connection | None = None

    def get(self) -> Connection:
        """The connection, lent: outside any transaction when new.

        Raises Misconfigured where the file system allows no write-ahead log (not with
        `allow_unsafe`) or the file is no database; sqlite3.Error.
        """
        if self._conn is None:
            engine = create_engine(
                "sqlite://",
                creator=self._connect,
                poolclass=NullPool,
                hide_parameters=True,  # a member's data never gets into an exception's text
            )
            refuse_transaction_statements(engine)
            self._conn = lend(engine.connect())
        return self._conn

    def is_sound(self, *, in_transaction: bool) -> bool:
        """True when it is in a transaction or not, as expected, and no unit left a trace on it."""
        conn = self._conn
        if conn is None or conn.closed or conn.invalidated or conn.in_nested_transaction():
            return False
        return driver_of(conn).in_transaction == in_transaction

    def drop(self) -> None:
        """Throw it away, in whatever state it is. What it had not committed is gone."""
        conn, self._conn = self._conn, None
        with suppress(Exception):
            if conn is not None and not conn.closed:
                conn.close()

    def _connect(self) -> sqlite3.Connection:
        # isolation_level=None: the driver never begins by itself, and so neither does SQLAlchemy.
        driver = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, cached_statements=512
        )
        try:
            for pragma in _PRAGMAS:
                _execute_patiently(driver, f"PRAGMA {pragma}")
            if not self._allow_unsafe:
                _check_safe(driver)
            if self._read_only:
                driver.execute("PRAGMA query_only = ON")
        except BaseException as error:
            driver.close()
            if _primary_code(error) == sqlite3.SQLITE_NOTADB:
                raise Misconfigured("The database file is not a SQLite database.") from error
            raise
        return driver


def driver_of(conn: Connection) -> sqlite3.Connection:
    """The driver's connection, on which the runner alone begins and ends transactions."""
    driver: sqlite3.Connection = cast(Any, conn.connection.driver_connection)
    return driver


def is_locked(error: BaseException) -> bool:
    """True when another connection, perhaps of another process, holds the lock."""
    return _primary_code(error) in _LOCKED


def as_ours(error: BaseException, *, committing: bool = False) -> BaseException:
    """The error for its caller: StoreBusy where nothing is stored and a later try may help."""
    code = _primary_code(error)
    if committing and code == sqlite3.SQLITE_IOERR:
        unknown = OutcomeUnknown()
        unknown.__cause__ = error
        return unknown
    if code in _BUSY:
        busy = StoreBusy()
        busy.__cause__ = error
        return busy
    if not isinstance(error, Exception):
        # SystemExit and its like would end the event loop that the caller runs on.
        wrapped = RuntimeError(f"a unit of work raised {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped
    return error


def _check_safe(driver: sqlite3.Connection) -> None:
    found = {name: driver.execute(f"PRAGMA {name}").fetchone()[0] for name in _EXPECTED}
    if found != _EXPECTED:
        raise Misconfigured(f"SQLite would lose what it was told to keep: {found}.")


def _execute_patiently(driver: sqlite3.Connection, statement: str) -> None:
    # The change to WAL and the recovery of a log after a crash lock out other processes that
    # start at the same moment, and SQLite's busy_timeout does not wait for every such lock.
    give_up_at = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            driver.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def _primary_code(error: BaseException) -> int | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
