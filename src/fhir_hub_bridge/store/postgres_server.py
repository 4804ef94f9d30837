"""A PostgreSQL server and our connections to it: how they are made, and what their errors mean.

Connections are in AUTOCOMMIT and read-only until somebody sends BEGIN ... READ WRITE. Before it:
`postgres`. https://www.postgresql.org/docs/current/runtime-config-client.html
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import NullPool, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fhir_hub_bridge.errors import BridgeError, OutcomeUnknown, StoreBusy
from fhir_hub_bridge.store.unit import (
    StoreLimits,
    UnitMisbehaved,
    Work,
    lend,
    refuse_transaction_statements,
    run_unit,
)

_SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE name IN "
    "('fsync', 'full_page_writes', 'synchronous_commit', 'server_encoding')"
)
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST = ("08", "57P", "25P03")  # connection, shutdown, idle in a transaction
_BUSY = ("53", "55P03")  # resources, lock timeout


def make_engine(url: URL, limits: StoreLimits) -> AsyncEngine:
    """An engine that makes a connection whenever it is asked to, and keeps none."""
    query = dict(url.query)
    if "sslmode" in query:  # libpq's name for it
        query["ssl"] = query.pop("sslmode")
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        hide_parameters=True,  # a member's data never gets into an exception's text
        connect_args={
            "timeout": limits.wait_seconds,
            "command_timeout": limits.statement_seconds,
            "prepared_statement_cache_size": 256,
            "server_settings": {
                "application_name": "fhir-hub-bridge",
                "timezone": "UTC",
                "jit": "off",  # our statements are short
                "default_transaction_read_only": "on",  # only `write` says READ WRITE
                "lock_timeout": f"{round(limits.wait_seconds * 1000)}ms",
                # A frozen process must not hold its locks for ever.
                "idle_in_transaction_session_timeout": "60s",
            },
        },
    )
    event.listen(engine.sync_engine, "handle_error", _forget_values)
    refuse_transaction_statements(engine.sync_engine)
    return engine


class ServerConnection:
    """One connection: made when first used, kept, thrown away when in doubt.

    SQLAlchemy's own pool would cost a read as much as its statement does.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._conn: AsyncConnection | None = None
        self._driver: Any = None  # asyncpg's connection; only here are transactions begun and ended

    async def run(self, work: Work, *, begin: str = "", end: str = "") -> Any:
        """Run a unit, between these two statements if given, and return its answer.

        Raises what the unit raises; UnitMisbehaved; StoreBusy; OutcomeUnknown if the connection is
        lost during COMMIT. Whatever happens, no transaction is left open.
        """
        committing = False
        try:
            conn = await self._get()
            if begin:
                await self._driver.execute(begin)
            answer = await conn.run_sync(partial(run_unit, work))
            if begin:
                _check_still_open(self._driver)
            committing = end == "COMMIT"
            if end:
                _check_ended(await self._driver.execute(end), end)
        except Exception as error:
            if _is_lost(error):
                await self.drop()
            else:
                await self._clean_up()
            if ours := as_ours(error, committing=committing):
                raise ours from error
            raise
        except BaseException:  # cancelled: who knows what the server is still about to answer
            await self.drop()
            raise
        return answer

    async def drop(self) -> None:
        """Throw it away, in whatever state it is. What it had not committed is gone."""
        conn, self._conn = self._conn, None
        if conn is not None:
            self._driver.terminate()
            with suppress(Exception):
                await conn.invalidate()
                await conn.close()

    async def close(self) -> None:
        """Say goodbye to the server."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Exception):
                await conn.close()

    async def _get(self) -> AsyncConnection:
        if self._conn is not None and self._driver.is_closed():  # known without asking the server
            await self.drop()
        if self._conn is None:
            conn = await self._engine.connect()
            self._driver = (await conn.get_raw_connection()).driver_connection
            await conn.run_sync(lend)
            self._conn = conn
        return self._conn

    async def _clean_up(self) -> None:
        conn = self._conn
        if conn is None:
            return
        left = conn.in_nested_transaction() or conn.closed or conn.invalidated
        if not left:
            with suppress(Exception):
                if self._driver.is_in_transaction():
                    await self._driver.execute("ROLLBACK")
                return
        await self.drop()


async def faults_of_server(engine: AsyncEngine) -> list[str]:
    """Why this server would lose what it is told to keep, in words; empty if it is fit."""
    async with engine.connect() as conn:
        rows = await conn.exec_driver_sql(_SETTINGS)
        settings = {row.name: row.setting for row in rows}
    faults = [f"{name} is off" for name in ("fsync", "full_page_writes") if settings[name] != "on"]
    if settings["synchronous_commit"] == "off":
        faults.append("synchronous_commit is off")
    if settings["server_encoding"] != "UTF8":
        faults.append(f"its encoding is {settings['server_encoding']}, not UTF8")
    return faults


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code for an error of SQLAlchemy or of the driver, or ""."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def as_ours(error: Exception, *, committing: bool = False) -> BridgeError | None:
    """What the caller sees instead: StoreBusy where nothing is stored and a later try may help."""
    if _is_lost(error):
        return OutcomeUnknown() if committing else StoreBusy()
    return StoreBusy() if sqlstate(error).startswith(_BUSY) else None


def _check_still_open(driver: Any) -> None:
    if not driver.is_in_transaction():
        raise UnitMisbehaved


def _check_ended(answer: str, asked: str) -> None:
    # PostgreSQL answers COMMIT with ROLLBACK when a statement had failed and the unit went on as
    # if it had not.
    if answer != asked:
        raise UnitMisbehaved("A unit of work swallowed an error of the database.")


def _forget_values(context: ExceptionContext) -> None:
    """Take the values of rows out of what server and driver say about an error."""
    adapted = context.original_exception
    errors: tuple[Any, ...] = (context.sqlalchemy_exception, adapted, adapted.__cause__)
    for error in errors:
        if isinstance(getattr(error, "detail", None), str):  # "Key (cin)=(...) already exists."
            error.detail = None
        if error and sqlstate(error).startswith("22"):  # "invalid input for query argument $1: ..."
            error.args = tuple(_before_value(arg) for arg in error.args)


def _before_value(text: object) -> object:
    return re.split(r"(?<=[\w$]): ", text, maxsplit=1)[0] if isinstance(text, str) else text


def _is_lost(error: Exception) -> bool:
    """True when there is no connection, none any more, or one that confuses the driver itself."""
    if isinstance(error, DBAPIError):  # of a statement of the unit
        if error.connection_invalidated:
            return True
        cause = error.orig and error.orig.__cause__
        return isinstance(cause, asyncpg.InternalClientError) or _says_lost(error)
    if isinstance(
        error, asyncpg.InterfaceError | asyncpg.InternalClientError
    ):  # of BEGIN or COMMIT
        return True
    return isinstance(error, OSError | TimeoutError) or _says_lost(error)


def _says_lost(error: Exception) -> bool:
    return sqlstate(error).startswith(_LOST)
