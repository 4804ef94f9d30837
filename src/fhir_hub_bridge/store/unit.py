"""What a unit of work is: a plain function on a Connection that never begins or ends a transaction.

The modules of `store/` and `intake/` write units; `postgres` and `sqlite` run them. Here is what
those two share: the limits, the health they report, and the Connection as it is lent to a unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, event

# Connection is handed on: jobs name it in their units, and only `store` imports SQLAlchemy.
__all__ = [
    "Connection",
    "P",
    "StoreHealth",
    "StoreLimits",
    "T",
    "Unit",
    "UnitMisbehaved",
    "Work",
    "lend",
    "refuse_transaction_statements",
    "run_unit",
]

P = ParamSpec("P")
T = TypeVar("T")

# A unit touches nothing but its Connection, may run twice (so it consumes and changes none of its
# arguments), and is short: 20 ms at most, because it holds SQLite's only writer or the event loop.
Unit = Callable[Concatenate[Connection, P], T]
Work = Callable[[Connection], Any]


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much a store takes on before it refuses with StoreBusy.

    `waiting` callers may wait at once (reads and writes each on SQLite, together on PostgreSQL),
    each for `wait_seconds` until its unit is taken up. PostgreSQL keeps `connections`; a server
    that is silent for `statement_seconds` is given up. SQLite has one writer and `readers` threads;
    a group of its units ends after `group_units` or `group_seconds`, whichever comes first.
    """

    waiting: int = 256
    wait_seconds: float = 10.0
    connections: int = 8
    statement_seconds: float = 60.0
    readers: int = 2
    group_units: int = 64
    group_seconds: float = 0.02


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What /readyz and /metrics ask of a store.

    `alive` is False when no write can ever succeed again: closed, or the writer thread is gone.
    `oldest_wait_seconds` is how long the first caller in the queue has waited for its turn.
    `last_commit_at` is UTC; None before the first commit of this process.
    """

    alive: bool
    waiting: int
    oldest_wait_seconds: float
    last_commit_at: datetime | None


class UnitMisbehaved(RuntimeError):
    """A unit of work began or ended a transaction, which only the store may do."""


def lend(conn: Connection) -> Connection:
    """Make a new `conn` refuse to begin or end a transaction, and return it.

    SQLAlchemy believes in one transaction that lasts as long as `conn`; the true ones are begun and
    ended by the runner, which speaks to the driver. `close` and `invalidate` stay as they are:
    SQLAlchemy calls them itself when a server goes away.
    """
    conn.begin()
    for name in ("begin", "begin_twophase", "commit", "rollback", "get_transaction"):
        setattr(conn, name, _refuse)
    return conn


def refuse_transaction_statements(engine: Engine) -> None:
    """Refuse BEGIN, COMMIT, ROLLBACK and the like as SQL text on every Connection of `engine`.

    Savepoints pass. The runner is not hindered: it speaks to the driver.
    """
    event.listen(engine, "before_cursor_execute", _refuse_transaction_statement)


def run_unit(work: Work, conn: Connection) -> Any:
    """Run a unit on a lent Connection and return its answer.

    Raises what the unit raises, except StopIteration and SystemExit, which no future can carry and
    which become RuntimeError. Raises UnitMisbehaved for a savepoint left open.
    """
    try:
        answer = work(conn)
    except (StopIteration, SystemExit, GeneratorExit) as error:
        raise RuntimeError(f"a unit of work raised {type(error).__name__}") from error
    if conn.in_nested_transaction():
        raise UnitMisbehaved("A unit of work left a savepoint open.")
    return answer


# The end of a transaction in all spellings of both databases; ROLLBACK TO a savepoint is none.
_TRANSACTION_STATEMENT = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(?:begin|start|commit|end|abort|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b",
    re.IGNORECASE | re.DOTALL,
)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise UnitMisbehaved


def _refuse_transaction_statement(
    _conn: object, _cursor: object, statement: str, *_: object
) -> None:
    if _TRANSACTION_STATEMENT.match(statement):
        raise UnitMisbehaved
