"""Processes to measure: the bridge as it is really run, and the partner that it tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fhir_hub_bridge.settings import Settings

PROGRAM = (sys.executable, "-m", "fhir_hub_bridge")
AT_ONCE = 16  # sends to one partner by one worker; the default spares real partners
_ROOT = Path(__file__).parents[1]


@contextmanager
def serving(settings: Settings, *, workers: bool) -> Iterator[str]:
    """`serve --open` on any port; its address, once it is ready."""
    options = ["serve", "--open", "--port", "0", "--json"]
    with _process([*PROGRAM, *options, *([] if workers else ["--no-workers"])], settings) as line:
        yield str(json.loads(line)["fhir"]).removesuffix("/fhir")


@contextmanager
def working(settings: Settings, *, processes: int) -> Iterator[None]:
    """`work --only delivery`, in so many processes."""
    with ExitStack() as running:
        for _ in range(processes):
            command = [*PROGRAM, "work", "--only", "delivery", "--json"]
            running.enter_context(_process(command, settings))
        yield


@contextmanager
def partner(*, delay_ms: float) -> Iterator[str]:
    """A partner's server that takes everything after so many milliseconds; its address."""
    with _process([sys.executable, "-m", "bench.partner", str(delay_ms)], None) as line:
        yield line.removeprefix("ready ").strip()


def seconds_to_ready(settings: Settings) -> float:
    """From the start of `serve` to its saying that it is ready."""
    started = time.perf_counter()
    with serving(settings, workers=True):
        return time.perf_counter() - started


def _environment(settings: Settings | None) -> dict[str, str]:
    if settings is None:
        return {**os.environ}
    return {
        **os.environ,
        "FHIR_HUB_BRIDGE_DATABASE": settings.database_url,
        "FHIR_HUB_BRIDGE_DATA_FOLDER": str(settings.data_folder),
        "FHIR_HUB_BRIDGE_OPERATOR": settings.operator,
        "FHIR_HUB_BRIDGE_PARTNER_CONCURRENCY": str(AT_ONCE),
    }


@contextmanager
def _process(command: list[str], settings: Settings | None) -> Iterator[str]:
    """A process, once it has said its first line; stopped and waited for at the end."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(settings),
        cwd=_ROOT,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{command} ended with {process.wait()} before it was ready")
        yield line
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
