"""The one door to the database: plain functions go in, answers come out after COMMIT.

`Store` is what the rest of the house sees; `postgres` and `sqlite` are its two forms, and `unit`
says what a unit of work may do. Before it: `intake`, `delivery`, `api`. After it: the database.
"""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from fhir_hub_bridge.errors import BadSetting
from fhir_hub_bridge.store.unit import (
    Connection,
    P,
    StoreHealth,
    StoreLimits,
    T,
    Unit,
    UnitMisbehaved,
)

__all__ = [
    "Connection",
    "Store",
    "StoreHealth",
    "StoreLimits",
    "Unit",
    "UnitMisbehaved",
    "open_store",
]


class Store(Protocol):
    """Runs units of work. All methods raise StoreBusy when nothing was stored and later may help.

    A unit that has started runs to its end, whatever becomes of its caller: a caller cancelled
    meanwhile does not know whether it is stored. Exceptions of a unit reach its caller unchanged.
    """

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""

    async def write(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit` in a transaction of its own; the answer comes after COMMIT returned.

        Raises OutcomeUnknown when the connection was lost during COMMIT.
        """

    async def read(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a unit of one SELECT. On PostgreSQL several statements may see several states."""

    async def read_snapshot(self, unit: Unit[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a unit of several SELECTs that all see one state."""

    def health(self) -> StoreHealth:
        """How the store is now. Touches no database."""

    async def close(self) -> None:
        """Refuse new units, finish the accepted ones, then let go of the database."""


async def open_store(
    url: str, *, limits: StoreLimits | None = None, allow_unsafe: bool = False
) -> Store:
    """Open the database at `url`: `sqlite:///path` or `postgresql://...` (`postgres://` too).

    PostgreSQL on a unix socket is `postgresql:///database?host=/folder&user=name&port=5432`. A
    SQLite file and its folder are made when they are missing, readable by their owner only. No
    tables are made here. The store belongs to the event loop that opens it.

    Raises BadSetting for a URL of another form, Misconfigured for a database that would lose what
    it was told to keep (not with `allow_unsafe`, for throw-away data), StoreBusy when no server
    answers.
    """
    limits = limits or StoreLimits()
    parsed = _parsed(url)
    # The drivers are loaded only where they are used: a command's --help must be quick.
    if parsed.get_backend_name() == "sqlite":
        from fhir_hub_bridge.store.sqlite import open_sqlite

        return await open_sqlite(parsed, limits=limits, allow_unsafe=allow_unsafe)
    from fhir_hub_bridge.store.postgres import open_postgres

    return await open_postgres(parsed, limits=limits, allow_unsafe=allow_unsafe)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text itself may hold a password, so it is not repeated.
        raise BadSetting("The database URL cannot be read.") from None
    if parsed.drivername == "postgres":
        parsed = parsed.set(drivername="postgresql")
    if parsed.drivername not in ("sqlite", "postgresql"):
        raise BadSetting(
            f"The database URL begins with {parsed.drivername}://; "
            "it must be sqlite:///path or postgresql://..."
        )
    return parsed
