"""A unit of work is stored whole or not at all, and what one does wrong hurts no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from tests.integration.small_tables import (
    first_half,
    first_halves,
    only_postgres,
    only_sqlite,
    pairs,
    small_store,
    write_pair,
)

from fhir_hub_bridge.errors import StoreBusy, Unknown
from fhir_hub_bridge.store.transaction import Store, UnitMisbehaved


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Store]:
    async with small_store(database_url) as store:
        yield store


def begins(conn: Connection) -> None:
    conn.begin()


def commits(conn: Connection) -> None:
    conn.commit()


def rolls_back(conn: Connection) -> None:
    conn.rollback()


def reaches_for_the_transaction(conn: Connection) -> None:
    transaction = conn.get_transaction()
    assert transaction is not None
    transaction.commit()


def sends_commit(conn: Connection) -> None:
    conn.execute(text("COMMIT"))


def sends_rollback(conn: Connection) -> None:
    conn.exec_driver_sql("/* all is well */ rollback")


def rolls_back_behind_our_back(conn: Connection) -> None:
    cursor = conn.connection.cursor()
    cursor.execute("ROLLBACK")


def leaves_a_savepoint_open(conn: Connection) -> None:
    conn.begin_nested()


def raises(conn: Connection) -> None:
    raise Unknown


def breaks_a_key(conn: Connection) -> None:
    conn.execute(insert(first_half), [{"id": -1}, {"id": -1}])


def raises_stop_iteration(conn: Connection) -> None:
    next(iter(()))


def raises_system_exit(conn: Connection) -> None:
    raise SystemExit(3)


MISDEEDS: list[tuple[Callable[[Connection], None], type[BaseException]]] = [
    (begins, UnitMisbehaved),
    (commits, UnitMisbehaved),
    (rolls_back, UnitMisbehaved),
    (reaches_for_the_transaction, UnitMisbehaved),
    (sends_commit, UnitMisbehaved),
    (sends_rollback, UnitMisbehaved),
    (rolls_back_behind_our_back, UnitMisbehaved),
    (leaves_a_savepoint_open, UnitMisbehaved),
    (raises, Unknown),
    (breaks_a_key, IntegrityError),
    (raises_stop_iteration, RuntimeError),
    (raises_system_exit, RuntimeError),
]


async def test_a_unit_that_fails_leaves_its_neighbours_whole(small: Store) -> None:
    expected = set()
    for round_, (misdeed, error) in enumerate(MISDEEDS):
        numbers = range(round_ * 64, round_ * 64 + 64)
        bad = set(numbers[::8])

        def unit(
            conn: Connection,
            number: int,
            bad: set[int] = bad,
            misdeed: Callable[[Connection], None] = misdeed,
        ) -> int:
            write_pair(conn, number)
            if number in bad:
                misdeed(conn)
            return number

        answers = await asyncio.gather(
            *(small.write(unit, number) for number in numbers), return_exceptions=True
        )

        for number, answer in zip(numbers, answers, strict=True):
            assert isinstance(answer, error) if number in bad else answer == number, misdeed
        expected |= set(numbers) - bad
        assert await pairs(small) == expected, misdeed


async def test_a_lone_unit_that_fails_stores_nothing_and_the_next_one_works(small: Store) -> None:
    for number, (misdeed, error) in enumerate(MISDEEDS):

        def unit(conn: Connection, misdeed: Callable[[Connection], None] = misdeed) -> None:
            write_pair(conn, -1)
            misdeed(conn)

        with pytest.raises(error):
            await small.write(unit)
        assert await small.write(write_pair, number) == number

    assert await pairs(small) == set(range(len(MISDEEDS)))


async def test_a_savepoint_of_a_unit_takes_back_only_what_is_inside_it(small: Store) -> None:
    def unit(conn: Connection) -> None:
        write_pair(conn, 1)
        try:
            with conn.begin_nested():
                write_pair(conn, 2)
                write_pair(conn, 1)
        except IntegrityError:
            write_pair(conn, 3)

    await small.write(unit)

    assert await pairs(small) == {1, 3}


async def test_an_error_that_a_unit_swallows_is_never_answered_as_stored_when_it_is_not(
    small: Store,
) -> None:
    def unit(conn: Connection) -> None:
        write_pair(conn, 1)
        try:
            conn.execute(insert(first_half), {"id": 1})
        except IntegrityError:
            return

    try:
        await small.write(unit)
    except UnitMisbehaved:
        stored = set()
    else:
        stored = {1}

    assert await pairs(small) == stored


@pytest.mark.parametrize("how", ["read", "read_snapshot"])
async def test_a_reading_unit_cannot_write(small: Store, how: str) -> None:
    with pytest.raises(DBAPIError):
        await getattr(small, how)(write_pair, 1)

    assert await pairs(small) == set()


async def test_a_reading_unit_cannot_end_a_transaction_either(small: Store) -> None:
    with pytest.raises(UnitMisbehaved):
        await small.read(commits)

    assert await small.read(first_halves) == set()


async def test_several_statements_of_a_snapshot_see_one_state(small: Store) -> None:
    loop = asyncio.get_running_loop()
    looks: list[set[int]] = []

    # Between its two looks the unit waits for a write that another task makes meanwhile: on
    # PostgreSQL inside the event loop by a statement that takes a while, on SQLite in its thread.
    def look_twice(conn: Connection) -> None:
        looks.append(first_halves(conn))
        if conn.dialect.name == "sqlite":
            asyncio.run_coroutine_threadsafe(small.write(write_pair, 1), loop).result(5)
        else:
            loop.call_soon(
                lambda: written.append(asyncio.ensure_future(small.write(write_pair, 1)))
            )
            conn.execute(text("SELECT pg_sleep(0.3)"))
        looks.append(first_halves(conn))

    written: list[asyncio.Future[int]] = []
    await small.read_snapshot(look_twice)

    assert looks == [set(), set()]
    assert await pairs(small) == {1}


async def test_an_error_of_the_database_does_not_repeat_the_values_of_a_row(small: Store) -> None:
    def unit(conn: Connection) -> None:
        conn.exec_driver_sql("CREATE TABLE secret (cin TEXT PRIMARY KEY, age INTEGER)")
        conn.execute(text("INSERT INTO secret (cin) VALUES (:cin)"), {"cin": "99999999Z"})
        conn.execute(text("INSERT INTO secret (cin) VALUES (:cin)"), {"cin": "99999999Z"})

    with pytest.raises(IntegrityError) as caught:
        await small.write(unit)

    error: BaseException | None = caught.value
    while error is not None:
        assert "99999999Z" not in str(error)
        error = error.__cause__


@only_postgres
async def test_a_value_of_the_wrong_type_is_not_repeated_either(small: Store) -> None:
    def unit(conn: Connection) -> None:
        conn.execute(select(first_half).where(text("id = CAST(:id AS bigint)")), {"id": "Jane Roe"})

    with pytest.raises(DBAPIError) as caught:
        await small.read(unit)

    error: BaseException | None = caught.value
    while error is not None:
        assert "Jane" not in str(error)
        error = error.__cause__


@only_sqlite
async def test_a_full_disk_refuses_the_unit_and_keeps_the_others(small: Store) -> None:
    def limit(conn: Connection, spare_pages: int) -> None:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + spare_pages}")

    def too_large(conn: Connection, number: int) -> int:
        write_pair(conn, number)
        if number % 8 == 0:
            conn.exec_driver_sql("CREATE TABLE large AS SELECT zeroblob(1000000)")
        return number

    await small.write(limit, 20)
    answers = await asyncio.gather(
        *(small.write(too_large, number) for number in range(64)), return_exceptions=True
    )
    await small.write(limit, 100_000)
    await small.write(too_large, 800)

    refused = {number for number, answer in enumerate(answers) if answer != number}
    assert refused == set(range(0, 64, 8))
    assert all(isinstance(answers[number], StoreBusy) for number in refused)
    assert await pairs(small) == set(range(64)) - refused | {800}
