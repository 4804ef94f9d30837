"""Parents and children: a child is kept running, hears hints, and ends with its parent.

All goes by the child's standard input, a pipe that only the parent holds: a byte is a hint that
there may be work, its end says that the parent is gone, however it went. Used by `cli` and `demo`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

STOP_WITH_PARENT: Final = "--stop-with-parent"
"""The option by which a child is told that its standard input is such a pipe."""

_STEADY_SECONDS: Final = 10.0  # a child that lived so long starts again at the shortest pause


def this_program(*arguments: str) -> list[str]:
    """The command line that runs this very program with these arguments."""
    return [sys.executable, "-m", "fhir_hub_bridge", *arguments]


async def start_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: int | IO[bytes] | None = None,
) -> Process:
    """Start a child whose standard input is a pipe from us. `env` is added to our environment."""
    return await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=stdout, stderr=stderr, env={**os.environ, **(env or {})}
    )


async def stop_child(child: Process, *, within: float) -> int:
    """Ask it to stop, kill it after `within` seconds; its exit code."""
    with suppress(ProcessLookupError):
        child.terminate()
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(within):
            return await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        return await child.wait()


class KeptChild:
    """A child that is started again when it ends, after pauses that grow while it keeps ending."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pause: float = 0.5,
        longest_pause: float = 30.0,
        on_end: Callable[[int, float], None] = lambda _exit_code, _pause: None,
    ) -> None:
        """Nothing runs yet. `on_end` hears the exit code and how long the pause will be."""
        self._command = command
        self._env = env
        self._shortest = pause
        self._longest = longest_pause
        self._on_end = on_end
        self._child: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process as it runs now; None between two."""
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self) -> None:
        """Start it and keep it running from now on. Raises OSError when it cannot be started."""
        self._child = await start_child(self._command, env=self._env)
        self._keeping = asyncio.create_task(self._keep(self._child))

    def hint(self) -> None:
        """Tell it that there may be work. Never waits; one unread hint is enough."""
        stdin = self._child.stdin if self._child else None
        if stdin is None or stdin.is_closing() or stdin.transport.get_write_buffer_size():
            return
        with suppress(OSError, RuntimeError):  # it has just died; the next one looks by itself
            stdin.write(b"\n")

    async def stop(self, *, within: float) -> None:
        """Stop it for good; killed after `within` seconds."""
        self._stopping.set()
        if self._child is not None:
            await stop_child(self._child, within=within)
        if self._keeping is not None:
            await self._keeping

    async def _keep(self, child: Process) -> None:
        clock = asyncio.get_running_loop().time
        pause = self._shortest
        while True:
            started_at = clock()
            exit_code = await child.wait()
            if self._stopping.is_set():
                return
            if clock() - started_at >= _STEADY_SECONDS:
                pause = self._shortest
            self._on_end(exit_code, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            pause = min(2 * pause, self._longest)
            with suppress(OSError):
                self._child = child = await start_child(self._command, env=self._env)


async def follow_parent(*, hint: asyncio.Event, gone: asyncio.Event) -> None:
    """In the child: set `hint` whenever the parent sends one, `gone` when it is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.read(1024):
        hint.set()
    gone.set()


def set_on_signals(stop: asyncio.Event) -> None:
    """From now on SIGTERM and SIGINT set `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
