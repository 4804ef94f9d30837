"""A child is kept running, hears hints, and ends when the parent's end of the pipe closes."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from fhir_hub_bridge.processes import KeptChild, start_child, stop_child, this_program

# Writes a line for each hint heard, and one when the parent is gone.
LISTENER = """
import asyncio, sys
from fhir_hub_bridge.processes import follow_parent, set_on_signals
async def main():
    hint, gone = asyncio.Event(), asyncio.Event()
    set_on_signals(gone)
    following = asyncio.create_task(follow_parent(hint=hint, gone=gone))
    out = open(sys.argv[1], "a", buffering=1)
    out.write("started\\n")
    while not gone.is_set():
        waiting = [asyncio.create_task(e.wait()) for e in (hint, gone)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if hint.is_set():
            out.write("hint\\n")
            hint.clear()
    out.write("gone\\n")
    following.cancel()
asyncio.run(main())
"""


async def lines_of(path: Path, *, until: str) -> list[str]:
    async with asyncio.timeout(10):
        while until not in (text := path.read_text() if path.exists() else ""):
            await asyncio.sleep(0.02)
    return text.splitlines()


def a_listener(path: Path) -> list[str]:
    return [sys.executable, "-c", LISTENER, str(path)]


async def test_a_hint_reaches_the_child(tmp_path: Path) -> None:
    child = KeptChild(a_listener(tmp_path / "said"))
    await child.start()
    await lines_of(tmp_path / "said", until="started")

    child.hint()

    assert "hint" in await lines_of(tmp_path / "said", until="hint")
    await child.stop(within=5)


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    ends: list[tuple[int, float]] = []
    child = KeptChild(
        a_listener(tmp_path / "said"), pause=0.05, on_end=lambda *end: ends.append(end)
    )
    await child.start()
    await lines_of(tmp_path / "said", until="started")
    first = child.pid
    assert first

    process = child._child
    assert process
    process.kill()
    said = await lines_of(tmp_path / "said", until="started\nstarted")

    assert said == ["started", "started"]
    assert child.pid not in (None, first)
    assert ends == [(-9, 0.05)]
    await child.stop(within=5)
    assert child.pid is None


async def test_pauses_grow_while_it_keeps_dying_and_stopping_ends_them() -> None:
    ends: list[tuple[int, float]] = []
    child = KeptChild(
        [sys.executable, "-c", "raise SystemExit(3)"],
        pause=0.05,
        longest_pause=0.1,
        on_end=lambda *end: ends.append(end),
    )
    await child.start()
    async with asyncio.timeout(10):
        while len(ends) < 3:
            await asyncio.sleep(0.02)

    await child.stop(within=5)

    assert ends[:3] == [(3, 0.05), (3, 0.1), (3, 0.1)]


async def test_the_end_of_the_pipe_ends_the_child(tmp_path: Path) -> None:
    child = await start_child(a_listener(tmp_path / "said"))
    await lines_of(tmp_path / "said", until="started")

    assert child.stdin
    child.stdin.close()

    assert "gone" in await lines_of(tmp_path / "said", until="gone")
    assert await child.wait() == 0


async def test_a_child_that_will_not_stop_is_killed() -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    child = await start_child([sys.executable, "-c", deaf], stdout=PIPE)
    assert child.stdout
    await child.stdout.readline()

    assert await stop_child(child, within=0.1) == -9
    assert await stop_child(child, within=0.1) == -9  # it is gone already


def test_this_program_runs_itself() -> None:
    assert this_program("work") == [sys.executable, "-m", "fhir_hub_bridge", "work"]
