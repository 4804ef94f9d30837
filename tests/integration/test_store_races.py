"""Of many callers that want the same thing at once, one wins: each form of a check and its write.

Only PostgreSQL can show a race here; SQLite runs units one after another and is asked the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from tests.integration.small_tables import only_postgres, small_store, versioned

from fhir_hub_bridge.store.transaction import Store

CALLERS = 50

Attempt = Callable[[Connection, str, int], bool]


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Store]:
    async with small_store(database_url) as store:
        yield store


def update_where_version_is(conn: Connection, id_: str, writer: int) -> bool:
    changed = conn.execute(
        update(versioned)
        .where(versioned.c.id == id_, versioned.c.version == 1)
        .values(version=2, writer=writer)
    )
    return changed.rowcount == 1


def lock_then_compare(conn: Connection, id_: str, writer: int) -> bool:
    query = select(versioned.c.version).where(versioned.c.id == id_).with_for_update()
    if conn.execute(query).scalar_one() != 1:
        return False
    conn.execute(update(versioned).where(versioned.c.id == id_).values(version=2, writer=writer))
    return True


def insert_unless_there(conn: Connection, id_: str, writer: int) -> bool:
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(versioned)
        .values(id=f"new-{id_}", version=1, writer=writer)
        .on_conflict_do_nothing()
        .returning(versioned.c.writer)
    )
    return conn.execute(statement).first() is not None


@pytest.mark.parametrize(
    "attempt",
    [update_where_version_is, lock_then_compare, insert_unless_there],
    ids=lambda attempt: attempt.__name__,
)
async def test_exactly_one_of_fifty_callers_wins(small: Store, attempt: Attempt) -> None:
    for round_ in range(5):
        id_ = str(round_)
        await small.write(make_version_one, id_)

        won = await asyncio.gather(
            *(small.write(attempt, id_, writer) for writer in range(CALLERS))
        )

        assert sum(won) == 1
        assert await small.read(writer_of, id_, attempt) == won.index(True)


async def test_numbers_counted_in_a_row_have_no_gap_and_no_double(small: Store) -> None:
    await small.write(make_version_one, "counter")

    def count(conn: Connection) -> int:
        statement = (
            update(versioned)
            .where(versioned.c.id == "counter")
            .values(version=versioned.c.version + 1)
            .returning(versioned.c.version)
        )
        number: int = conn.execute(statement).scalar_one()
        return number

    numbers = await asyncio.gather(*(small.write(count) for _ in range(CALLERS)))

    assert sorted(numbers) == list(range(2, CALLERS + 2))


@only_postgres
async def test_these_races_are_real_because_a_look_before_an_update_loses_writes(
    small: Store,
) -> None:
    def look_then_update(conn: Connection, id_: str, writer: int) -> bool:
        query = select(versioned.c.version).where(versioned.c.id == id_)
        if conn.execute(query).scalar_one() != 1:
            return False
        conn.execute(select(func.pg_sleep(0.02)))
        conn.execute(
            update(versioned).where(versioned.c.id == id_).values(version=2, writer=writer)
        )
        return True

    await small.write(make_version_one, "1")

    won = await asyncio.gather(
        *(small.write(look_then_update, "1", writer) for writer in range(CALLERS))
    )

    assert sum(won) > 1


def make_version_one(conn: Connection, id_: str) -> None:
    conn.execute(insert(versioned).values(id=id_, version=1, writer=-1))


def writer_of(conn: Connection, id_: str, attempt: Attempt) -> int:
    key = f"new-{id_}" if attempt is insert_unless_there else id_
    writer: int = conn.execute(select(versioned.c.writer).where(versioned.c.id == key)).scalar_one()
    return writer
