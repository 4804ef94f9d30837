"""The demo from beginning to end: a folder, the stage, the play, the totals, the clean-up."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from fhir_hub_bridge.demo.partner_files import OPERATOR
from fhir_hub_bridge.demo.play import play
from fhir_hub_bridge.demo.pretend import read_script
from fhir_hub_bridge.demo.stage import Stage, staged
from fhir_hub_bridge.demo.telling import tell_ending, tell_what_next
from fhir_hub_bridge.demo.totals import Totals, add_up
from fhir_hub_bridge.errors import BridgeError, Misconfigured
from fhir_hub_bridge.settings import Settings
from fhir_hub_bridge.store import console_queries
from fhir_hub_bridge.web.times import local_date
from fhir_hub_bridge.wiring import utc_now

_OUTAGE_SECONDS: Final = 25.0
_FAST_OUTAGE_SECONDS: Final = 3.0
_STOPPED: Final = 130


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of the command."""

    once: bool
    fast: bool
    seed: int
    keep: bool
    as_json: bool
    database: str


def run_demo(wishes: Wishes) -> int:
    """Run it; the exit code: 0 only if every loop and every notice ended as its script expects.

    Raises Misconfigured for a database that is not empty, BridgeError when something won't start.
    """
    folder = Path(tempfile.mkdtemp(prefix="fhir-hub-bridge-demo-"))
    keep = wishes.keep
    try:
        exit_code = asyncio.run(_run(wishes, folder))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return _STOPPED
    except Misconfigured:
        raise
    except BridgeError:
        keep = True
        raise
    else:
        keep = keep or exit_code != 0
        return exit_code
    finally:
        if keep:
            sys.stderr.write(f"The demo's folder is kept: {folder}\n")
        else:
            _remove_all_but_journals(folder)


async def _run(wishes: Wishes, folder: Path) -> int:
    started = time.monotonic()
    _end_on_signals()
    settings = Settings(
        database=wishes.database or f"sqlite:///{folder / 'bridge.sqlite'}",
        data_folder=folder,
        operator=OPERATOR,
        escalation_owner="Robin Example, referral desk",
    )
    script = await read_script(seed=wishes.seed, today=local_date(utc_now()).isoformat())
    with _progress(shown=not wishes.as_json) as say:
        say("Starting the bridge and three pretend partners")
        async with staged(settings, script=script, folder=folder) as stage:
            span = _FAST_OUTAGE_SECONDS if wishes.fast else _OUTAGE_SECONDS
            played = await play(stage, script, outage_seconds=span, say=say)
            totals = await add_up(stage, script, played, seconds=time.monotonic() - started)
            say("")
            outage = next(r["identifier"] for r in script["referrals"] if r["is_outage"])
            await _tell(wishes, stage, totals, referral_id=played.referral_ids[outage])
            if not wishes.once:
                await _until_stopped()
    return 0 if totals.is_good else 1


async def _tell(wishes: Wishes, stage: Stage, totals: Totals, *, referral_id: str) -> None:
    if wishes.as_json:
        sys.stdout.write(json.dumps(totals.values) + "\n")
        sys.stdout.flush()
        return
    story = await stage.bridge.store.read_snapshot(console_queries.story, referral_id)
    console = Console()
    tell_ending(totals, story, stage.bridge.catalog.rulebook, console=console)
    tell_what_next(
        # The address of a server may hold a password.
        database="THE SAME URL" if wishes.database else stage.bridge.settings.database_url,
        address=stage.console,
        is_open=not wishes.once,
        folder=str(stage.folder),
        console=console,
    )


def _end_on_signals() -> None:
    """SIGTERM and Ctrl-C end the run in good order: all children are stopped."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # called from a coroutine
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _until_stopped() -> None:
    """Stay open. From here on a signal is the ordinary end."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[str], None]]:
    """What is going on now, on one line of a terminal's standard error; nothing anywhere else."""
    console = Console(stderr=True, quiet=not shown)
    with console.status("") as status:

        def say(sentence: str) -> None:
            if sentence:
                status.update(sentence)
            else:
                status.stop()

        yield say


def _remove_all_but_journals(folder: Path) -> None:
    """The journals are what the totals can be checked against; they hold nothing of a member."""
    for child in folder.iterdir():
        if child.is_dir() and child.name != "journals":
            shutil.rmtree(child, ignore_errors=True)
        elif not child.is_dir():
            child.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
