"""How soon it is there and how much memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

from bench.databases import Databases
from bench.figures import Figure, median
from bench.servers import PROGRAM, seconds_to_ready
from bench.sizes import Sizes

_UNIT = 1024 if sys.platform != "darwin" else 1024 * 1024  # of ru_maxrss in a MiB


def help_text(sizes: Sizes) -> Iterator[Figure]:
    """`fhir-hub-bridge --help`, from start to exit."""
    seconds = []
    for _ in range(sizes.repeats + 1):
        started = time.perf_counter()
        subprocess.run([*PROGRAM, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    yield Figure("--help", median(seconds[1:]))  # the first one reads the files from disk


async def ready(databases: Databases, kind: str, sizes: Sizes) -> AsyncIterator[Figure]:
    """`serve` on an existing database, until it says that it is ready."""
    settings = await databases.fresh(kind)
    seconds = [seconds_to_ready(settings) for _ in range(sizes.repeats)]
    yield Figure("serve ready", median(seconds), kind)


def memory() -> Iterator[Figure]:
    """The largest process of a `demo --once --fast`, at its largest."""
    demo = subprocess.Popen(
        [*PROGRAM, "demo", "--once", "--fast", "--json"], stdout=subprocess.DEVNULL
    )
    # What wait4 tells covers the process and every child it waited for: the largest of them.
    _, status, used = os.wait4(demo.pid, 0)
    demo.returncode = os.waitstatus_to_exitcode(status)
    if demo.returncode:
        raise RuntimeError(f"the demo ended with {demo.returncode}")
    yield Figure("memory of the largest process of the demo", used.ru_maxrss / _UNIT)
