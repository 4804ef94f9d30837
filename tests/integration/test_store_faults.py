"""What was answered is kept, and nothing by halves, whatever breaks: processes, servers, locks."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, make_url
from tests.integration.small_tables import (
    first_half,
    first_halves,
    only_postgres,
    only_sqlite,
    pairs,
    small_store,
    write_pair,
)
from tests.postgres_server import PORT, PostgresServer

from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy

ROOT = Path(__file__).parents[2]

LOCKER = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def start_writer(url: str, *, first: int, count: int, callers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.pair_writer"]
    return subprocess.Popen(
        [*command, url, str(first), str(count), str(callers)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


async def test_killing_the_process_loses_nothing_answered(database_url: str) -> None:
    chance = random.Random(11)
    answered: set[int] = set()
    async with small_store(database_url):
        pass

    for kill in range(3):
        writer = start_writer(database_url, first=kill * 1_000_000, count=1_000_000, callers=12)
        assert writer.stdout
        said = [writer.stdout.readline()]
        time.sleep(chance.uniform(0.05, 0.4))
        writer.kill()
        said += writer.stdout.readlines()
        writer.wait()
        # A line without its end was cut off by the kill: its number may be half a number.
        answered |= {int(line) for line in said if line.endswith(b"\n")}

    async with small_store(database_url, make=False) as store:
        stored = await pairs(store)
        await store.write(write_pair, -1)
    assert len(answered) > 3
    assert answered <= stored
    if database_url.startswith("sqlite"):
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as conn:
            assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@only_sqlite
async def test_several_processes_write_the_same_file(database_url: str) -> None:
    async with small_store(database_url) as store:
        others = [
            start_writer(database_url, first=first, count=150, callers=callers)
            for first, callers in ((1000, 1), (2000, 16))
        ]
        for number in range(150):
            await store.write(write_pair, number)
        said = [await asyncio.to_thread(other.communicate) for other in others]

        expected = {*range(150), *range(1000, 1150), *range(2000, 2150)}
        assert await pairs(store) == expected
    assert [len(out.splitlines()) for out, _ in said] == [150, 150]


@only_sqlite
async def test_a_file_locked_by_another_process_refuses_writes_by_their_deadline(
    database_url: str,
) -> None:
    async with small_store(database_url, wait_seconds=0.4) as store:
        locker = subprocess.Popen(
            [sys.executable, "-c", LOCKER, database_url.removeprefix("sqlite:///")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert locker.stdout
        assert await asyncio.to_thread(locker.stdout.readline) == b"locked\n"

        began = time.monotonic()
        answers = await asyncio.gather(
            *(store.write(write_pair, number) for number in range(20)), return_exceptions=True
        )
        took = time.monotonic() - began
        seen = await store.read(first_halves)
        await asyncio.to_thread(locker.communicate)

        assert all(isinstance(answer, StoreBusy) for answer in answers)
        assert 0.3 < took < 2
        assert seen == set()
        assert await store.write(write_pair, 100) == 100
        assert await pairs(store) == {100}


@only_sqlite
async def test_a_write_waits_for_another_process_that_lets_go_in_time(database_url: str) -> None:
    async with small_store(database_url) as store:
        other = sqlite3.connect(
            database_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.3, other.execute, "COMMIT")

        assert await store.write(write_pair, 1) == 1
        other.close()


@only_postgres
async def test_sessions_ended_by_the_server_lose_nothing_answered(
    database_url: str, postgres_server: PostgresServer
) -> None:
    name = make_url(database_url).database
    end_all = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    answers: dict[int, object] = {}
    async with small_store(database_url) as store:

        async def caller(first: int) -> None:
            for number in range(first, first + 100):
                try:
                    answers[number] = await store.write(write_pair, number)
                except (StoreBusy, OutcomeUnknown) as error:
                    answers[number] = error
                    await asyncio.sleep(0.01)

        callers = [asyncio.create_task(caller(first)) for first in range(0, 800, 100)]
        for _ in range(10):
            await asyncio.sleep(0.03)
            await asyncio.to_thread(postgres_server.execute, end_all)
        await asyncio.gather(*callers)
        stored = await pairs(store)
        assert await store.write(write_pair, 1000) == 1000

    answered = {number for number, answer in answers.items() if answer == number}
    refused = {number for number, answer in answers.items() if isinstance(answer, StoreBusy)}
    assert len(answers) == 800
    assert answered <= stored
    assert refused
    assert not refused & stored


SLOW_COMMIT = (
    """CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON first_half
       DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()""",
)


@only_postgres
async def test_a_connection_lost_during_commit_is_not_called_refused(
    database_url: str, postgres_server: PostgresServer
) -> None:
    name = make_url(database_url).database
    async with small_store(database_url) as store:
        await store.write(lambda conn: [conn.exec_driver_sql(sql) for sql in SLOW_COMMIT] and None)
        caller = asyncio.create_task(store.write(write_pair, 1))
        await asyncio.sleep(0.4)
        await asyncio.to_thread(
            postgres_server.execute,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

        with pytest.raises(OutcomeUnknown):
            await caller


@only_postgres
async def test_a_connection_lost_while_it_was_idle_is_not_noticed_by_callers(
    database_url: str, postgres_server: PostgresServer
) -> None:
    name = make_url(database_url).database
    async with small_store(database_url, connections=2) as store:
        await asyncio.gather(store.write(write_pair, 1), store.write(write_pair, 2))
        await asyncio.to_thread(
            postgres_server.execute,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        await asyncio.sleep(0.1)

        assert await store.write(write_pair, 3) == 3
        assert await pairs(store) == {1, 2, 3}


@only_postgres
async def test_a_row_locked_by_a_stranger_refuses_the_write_in_time(
    database_url: str, postgres_server: PostgresServer
) -> None:
    def wants_the_row(conn: Connection) -> None:
        conn.execute(first_half.delete())

    async with small_store(database_url, wait_seconds=0.3) as store:
        await store.write(write_pair, 1)
        stranger = await asyncpg.connect(
            host=str(postgres_server.folder),
            port=PORT,
            user=postgres_server.user,
            database=make_url(database_url).database,
        )
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("SELECT * FROM first_half FOR UPDATE")

        with pytest.raises(StoreBusy):
            await store.write(wants_the_row)

        await transaction.rollback()
        await stranger.close()
        await store.write(wants_the_row)
        assert await store.read(first_halves) == set()
