"""Delivery workers are killed at every named point; the notices are told all the same.

At-least-once, never lost, never altered, never out of order: judged by the partner's own journal.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest
from tests.journeys import delivery_worker, journaling_partner
from tests.notice_builders import Owed, a_lane, a_partner, store_owed, store_partners

from fhir_hub_bridge.faults import POINTS
from fhir_hub_bridge.store.notice_records import (
    NoticeRecord,
    attempts_of,
    count_notices,
    notices_of,
)
from fhir_hub_bridge.store.notice_rows import Attempt
from fhir_hub_bridge.store.resources import history
from fhir_hub_bridge.store.transaction import open_store

AT_ONCE = 6  # doomed workers at the same time
LANES_EACH = 4  # so that there is work for every doomed worker to die over
STATES = 2  # notices in a lane


@pytest.fixture(scope="module")
def warmed() -> Iterator[ForkServerContext]:
    """Processes forked from one that has everything imported: a start takes milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "tests.journeys.delivery_worker",
            "fhir_hub_bridge.store.sqlite",
            "fhir_hub_bridge.store.postgres",
            "pytest",
        ]
    )
    yield context


@contextmanager
def running_partner(context: ForkServerContext, journal: Path) -> Iterator[str]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=journaling_partner.serve, args=(journal, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(30), "the pretend partner did not start"
        yield f"http://127.0.0.1:{ours.recv()}/fhir"
    finally:
        process.terminate()
        process.join()


def test_nothing_is_lost_wherever_workers_are_killed(
    warmed: ForkServerContext,
    database_url: str,
    tables: None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    kills = request.config.getoption("--kills", default=2)
    dice = random.Random(2026)
    dooms = [point for point in POINTS for _ in range(kills)]
    dice.shuffle(dooms)
    lanes = [
        a_lane(f"referral {n}", notices=STATES, at=datetime.now(UTC) - timedelta(minutes=5))
        for n in range(len(dooms) * LANES_EACH)
    ]
    journal = tmp_path / "journal.jsonl"

    with running_partner(warmed, journal) as endpoint:
        asyncio.run(_owe(database_url, endpoint, lanes))
        died = _run_doomed(warmed, database_url, journal, dooms, dice)
        _finish(warmed, database_url, journal)

    stored, attempts, versions = asyncio.run(_read(database_url, lanes))
    owed = {one.id: one for lane in lanes for one in lane}
    got = journaling_partner.entries_of(journal)
    copies = Counter(entry["notice"] for entry in got)
    print(f"{len(died)} workers killed, {len(owed)} notices, {len(got) - len(owed)} sent twice")
    assert Counter(died) == Counter(dict.fromkeys(POINTS, kills))
    assert set(copies) == set(owed), "every notice reached the partner"
    assert {n.state for n in stored.values()} == {"confirmed"}
    assert all(entry["sha256"] == owed[entry["notice"]].sha256 for entry in got)
    assert all(entry["key"] == entry["notice"] for entry in got)
    assert all(stored[id_].sha256 == one.sha256 for id_, one in owed.items())
    assert len(got) - len(owed) <= len(dooms) * delivery_worker.PACE.batch
    for tries in attempts.values():
        assert [a.outcome for a in tries].count("accepted") == 1
    assert set(versions.values()) == {2}, "each Communication was completed once"
    _assert_order(lanes, [entry["notice"] for entry in got])


@pytest.mark.parametrize("point", ["K9", "K10"])
def test_a_worker_that_slept_through_its_lease_cannot_record_over_the_new_owner(
    warmed: ForkServerContext, database_url: str, tables: None, tmp_path: Path, point: str
) -> None:
    lane = a_lane("referral", notices=STATES, at=datetime.now(UTC) - timedelta(minutes=5))
    journal = tmp_path / "journal.jsonl"

    with running_partner(warmed, journal) as endpoint:
        asyncio.run(_owe(database_url, endpoint, [lane]))
        sleeper = _start(warmed, database_url, journal, point, signal_=signal.SIGSTOP)
        _wait_for(lambda: _is_stopped(sleeper))
        _finish(warmed, database_url, journal)
        os.kill(_pid(sleeper), signal.SIGCONT)
        _wait_for(lambda: _has_outcome(database_url, lane, "lease-lost"))
        _end(sleeper)

    stored, attempts, _ = asyncio.run(_read(database_url, [lane]))
    got = [entry["notice"] for entry in journaling_partner.entries_of(journal)]
    assert {n.state for n in stored.values()} == {"confirmed"}
    assert Counter(a.outcome for a in attempts[lane[0].id]) == {"accepted": 1, "lease-lost": 1}
    assert [a.outcome for a in attempts[lane[1].id]] == ["accepted"]
    assert got == [lane[0].id, lane[0].id, lane[1].id]


async def _owe(url: str, endpoint: str, lanes: list[list[Owed]]) -> None:
    store = await open_store(url)
    await store.write(store_partners, [a_partner(endpoint=endpoint)])
    for start in range(0, len(lanes), 25):
        await store.write(store_owed, [one for lane in lanes[start : start + 25] for one in lane])
    await store.close()


async def _read(
    url: str, lanes: list[list[Owed]]
) -> tuple[dict[str, NoticeRecord], dict[str, list[Attempt]], dict[str, int]]:
    store = await open_store(url)
    stored: dict[str, NoticeRecord] = {}
    attempts: dict[str, list[Attempt]] = {}
    versions: dict[str, int] = {}
    for lane in lanes:
        stored |= {n.id: n for n in await store.read(notices_of, lane[0].referral_id)}
        attempts |= await store.read(attempts_of, [one.id for one in lane])
        for one in lane:
            found = await store.read(history, "Communication", one.communication_id)
            versions[one.id] = len(found)
    await store.close()
    return stored, attempts, versions


def _run_doomed(
    context: ForkServerContext,
    url: str,
    journal: Path,
    dooms: list[str],
    dice: random.Random,
) -> list[str]:
    """Run doomed workers, some at once, until each was killed; the points they died at."""
    left = list(dooms)
    running: dict[ForkServerProcess, str] = {}
    died: list[str] = []
    give_up_at = time.monotonic() + 30 + 5 * len(dooms)
    try:
        while left or running:
            assert time.monotonic() < give_up_at, f"still alive: {sorted(running.values())}"
            while left and len(running) < AT_ONCE:
                point = left.pop()
                passes = dice.randint(1, 4)
                running[_start(context, url, journal, point, passes=passes)] = point
            for process in [p for p in running if not p.is_alive()]:
                assert process.exitcode == -signal.SIGKILL, f"ended itself: {process.exitcode}"
                died.append(running.pop(process))
            time.sleep(0.005)
    finally:
        for process in running:
            process.kill()
    return died


def _start(
    context: ForkServerContext,
    url: str,
    journal: Path,
    point: str = "",
    *,
    passes: int = 1,
    signal_: signal.Signals = signal.SIGKILL,
) -> ForkServerProcess:
    process = context.Process(
        target=delivery_worker.work, args=(url, journal, point, passes, signal_), daemon=True
    )
    process.start()
    return process


def _finish(context: ForkServerContext, url: str, journal: Path) -> None:
    """One healthy worker does what is left, and stops when it is told to."""
    healthy = _start(context, url, journal)
    _wait_for(lambda: asyncio.run(_pending(url)) == 0, seconds=120)
    _end(healthy)


def _end(process: ForkServerProcess) -> None:
    process.terminate()
    process.join(20)
    assert process.exitcode == 0


def _pid(process: ForkServerProcess) -> int:
    assert process.pid is not None
    return process.pid


def _is_stopped(process: ForkServerProcess) -> bool:
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(_pid(process))], capture_output=True, check=False, text=True
    )
    return found.stdout.strip().startswith("T")


def _wait_for(holds: Callable[[], bool], *, seconds: float = 30) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.1)


async def _pending(url: str) -> int:
    store = await open_store(url)
    counts = await store.read(count_notices, now=datetime.now(UTC))
    await store.close()
    return counts.pending


def _has_outcome(url: str, lane: list[Owed], outcome: str) -> bool:
    _, attempts, _ = asyncio.run(_read(url, [lane]))
    return any(a.outcome == outcome for tries in attempts.values() for a in tries)


def _assert_order(lanes: list[list[Owed]], got: list[str]) -> None:
    """No state of a lane came after a later one had, not even as a copy."""
    lane_of = {one.id: (number, one.lane) for number, lane in enumerate(lanes) for one in lane}
    order: defaultdict[int, list[int]] = defaultdict(list)
    for id_ in got:
        number, place = lane_of[id_]
        order[number].append(place)
    assert all(places == sorted(places) for places in order.values())
