"""What a caller of the store may rely on: cancelled, refused, answered, or told that it is over."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, insert, text
from tests.integration.small_tables import (
    first_half,
    first_halves,
    only_postgres,
    only_sqlite,
    pairs,
    small_store,
    write_pair,
)

from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.store.group_commit import GroupWriter
from fhir_hub_bridge.store.transaction import Store


def rest(conn: Connection, seconds: float) -> None:
    """Keep the unit's turn for a while."""
    if conn.dialect.name == "sqlite":
        time.sleep(seconds)
    else:
        conn.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


def write_pair_slowly(conn: Connection, number: int, seconds: float = 0.2) -> int:
    conn.execute(insert(first_half), {"id": number})
    rest(conn, seconds)
    conn.exec_driver_sql(f"INSERT INTO second_half (id) VALUES ({number})")
    return number


async def test_a_request_reads_what_it_has_just_written(database_url: str) -> None:
    async def write_then_read(store: Store, number: int) -> bool:
        await store.write(write_pair, number)
        return number in await store.read(first_halves)

    async with small_store(database_url) as store:
        seen = await asyncio.gather(*(write_then_read(store, number) for number in range(100)))

    assert all(seen)


async def test_a_unit_that_has_started_is_stored_although_its_caller_is_cancelled(
    database_url: str,
) -> None:
    async with small_store(database_url) as store:
        caller = asyncio.create_task(store.write(write_pair_slowly, 1))
        await asyncio.sleep(0.1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await store.write(rest, 0.2)

        assert await pairs(store) == {1}


async def test_a_unit_whose_caller_is_cancelled_while_it_waits_never_runs(
    database_url: str,
) -> None:
    async with small_store(database_url, connections=1) as store:
        first = asyncio.create_task(store.write(write_pair_slowly, 1))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(store.write(write_pair, 2))
        await asyncio.sleep(0.05)
        second.cancel()
        await first
        await store.write(write_pair, 3)

        assert await pairs(store) == {1, 3}


async def test_callers_cancelled_at_any_moment_leave_whole_pairs_and_a_working_store(
    database_url: str,
) -> None:
    chance = random.Random(7)
    async with small_store(database_url) as store:
        answered = set()
        for start in range(0, 300, 30):
            callers = {
                number: asyncio.create_task(store.write(write_pair, number))
                for number in range(start, start + 30)
            }
            for caller in callers.values():
                asyncio.get_running_loop().call_later(chance.uniform(0, 0.03), caller.cancel)
            await asyncio.wait(callers.values())
            answered |= {number for number, c in callers.items() if not c.cancelled()}
        await store.write(write_pair, 1000)
        await asyncio.sleep(0.1)

        stored = await pairs(store)

    assert answered | {1000} <= stored


async def test_reads_cancelled_at_any_moment_leave_a_working_store(database_url: str) -> None:
    chance = random.Random(7)
    async with small_store(database_url, connections=4) as store:
        readers = [asyncio.create_task(store.read(rest, 0.02)) for _ in range(40)]
        readers += [asyncio.create_task(store.read_snapshot(rest, 0.02)) for _ in range(40)]
        for reader in readers:
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.3), reader.cancel)
        await asyncio.wait(readers)

        answers = await asyncio.gather(*(store.write(write_pair, n) for n in range(20)))

        assert answers == list(range(20))
        assert await pairs(store) == set(range(20))


async def test_too_many_waiting_callers_are_refused_at_once(database_url: str) -> None:
    async with small_store(database_url, waiting=8, connections=1) as store:
        busy = asyncio.create_task(store.write(write_pair_slowly, 1000))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        answers = await asyncio.gather(
            *(store.write(write_pair, number) for number in range(40)), return_exceptions=True
        )
        await busy
        stored = await pairs(store)

    assert time.monotonic() - began < 2
    assert answers[:8] == list(range(8))
    assert all(isinstance(answer, StoreBusy) for answer in answers[8:])
    assert stored == {*range(8), 1000}


async def test_a_unit_that_waits_past_its_deadline_is_refused_and_not_stored(
    database_url: str,
) -> None:
    async with small_store(database_url, wait_seconds=0.2, connections=1) as store:
        busy = asyncio.create_task(store.write(write_pair_slowly, 1, 0.5))
        await asyncio.sleep(0.05)
        with pytest.raises(StoreBusy):
            await store.write(write_pair, 2)
        await busy
        await store.write(write_pair, 3)

        assert await pairs(store) == {1, 3}


async def test_close_finishes_what_was_accepted_and_refuses_what_comes_later(
    database_url: str,
) -> None:
    async with small_store(database_url) as store:
        callers = [asyncio.create_task(store.write(write_pair, number)) for number in range(200)]
        readers = [asyncio.create_task(store.read(first_halves)) for _ in range(50)]
        await asyncio.sleep(0)
        await store.close()

        assert await asyncio.gather(*callers) == list(range(200))
        await asyncio.gather(*readers)
        for late in (store.write(write_pair, 1000), store.read(first_halves)):
            with pytest.raises(StoreBusy, match="closed"):
                await late
        assert not store.health().alive

    async with small_store(database_url, make=False) as store:
        assert await pairs(store) == set(range(200))


async def test_health_tells_who_waits_for_how_long_and_when_something_was_stored(
    database_url: str,
) -> None:
    async with small_store(database_url, make=False, connections=1) as store:
        assert store.health().alive
        assert store.health().last_commit_at is None

        busy = asyncio.create_task(store.write(rest, 0.3))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(store.write(rest, 0)) for _ in range(3)]
        await asyncio.sleep(0.1)
        health = store.health()
        await asyncio.gather(busy, *waiting)

        assert health.waiting == 3
        assert 0.05 < health.oldest_wait_seconds < 0.3
        assert store.health().waiting == 0
        committed_at = store.health().last_commit_at
        assert committed_at is not None
        assert datetime.now(UTC) - committed_at < timedelta(seconds=5)


async def test_a_unit_sees_the_context_of_its_caller(database_url: str) -> None:
    request_id = contextvars.ContextVar("request_id", default="none")

    def seen(conn: Connection) -> str:
        return request_id.get()

    async with small_store(database_url, make=False) as store:
        request_id.set("r-1")

        assert await store.write(seen) == "r-1"
        assert await store.read(seen) == "r-1"


@only_sqlite
async def test_waiting_callers_are_told_when_the_writer_dies(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerFailure(BaseException):
        pass

    def die(writer: GroupWriter, group: object) -> None:
        raise PowerFailure

    deaths: list[object] = []
    monkeypatch.setattr("threading.excepthook", deaths.append)
    async with small_store(database_url) as store:
        busy = asyncio.create_task(store.write(write_pair_slowly, 1))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(store.write(write_pair, number)) for number in (2, 3, 4)]
        await asyncio.sleep(0.05)
        monkeypatch.setattr(GroupWriter, "_write_together", die)
        answers = await asyncio.wait_for(
            asyncio.gather(busy, *waiting, return_exceptions=True), timeout=5
        )

        # With the second the writer had begun, and nobody is left who knows how far it came.
        assert answers[0] == 1
        assert [type(answer) for answer in answers[1:]] == [OutcomeUnknown, StoreBusy, StoreBusy]
        assert not store.health().alive
        with pytest.raises(StoreBusy):
            await store.write(write_pair, 5)
        assert await pairs(store) == {1}
    assert len(deaths) == 1


@only_postgres
async def test_a_unit_runs_again_after_a_deadlock(database_url: str) -> None:
    runs: list[int] = []

    def lock_both(conn: Connection, first: int, second: int) -> None:
        runs.append(first)
        for number in (first, second):
            conn.execute(text("SELECT 1 FROM first_half WHERE id = :id FOR UPDATE"), {"id": number})
            rest(conn, 0.2)

    async with small_store(database_url) as store:
        await asyncio.gather(store.write(write_pair, 1), store.write(write_pair, 2))

        await asyncio.gather(store.write(lock_both, 1, 2), store.write(lock_both, 2, 1))

    assert len(runs) == 3
