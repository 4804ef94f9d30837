"""The stage: a database, `serve` with its worker, and three pretend partners, all real processes.

Everything lies in one folder and listens on free ports of this machine; all children are stopped
with the stage, whatever happened on it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from fhir_hub_bridge.demo.partner_files import OPERATOR, write_partner_files
from fhir_hub_bridge.demo.pretend import Pretend, start_pretend
from fhir_hub_bridge.errors import BridgeError, Misconfigured
from fhir_hub_bridge.intake.register_partner import read_partners, register
from fhir_hub_bridge.processes import STOP_WITH_PARENT, start_child, stop_child, this_program
from fhir_hub_bridge.settings import Settings
from fhir_hub_bridge.store import console_queries, schema
from fhir_hub_bridge.store.transaction import open_store
from fhir_hub_bridge.wiring import Bridge, open_bridge, utc_now

_RETRY_SECONDS: Final = (0.3, 0.5, 1, 2)
_STOP_WITHIN: Final = 15.0
_READY_WITHIN: Final = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running, and where."""

    folder: Path
    bridge: Bridge  # our own look into the same database
    env: Mapping[str, str]  # of the product's commands
    fhir: str
    console: str
    pids: Mapping[str, int]
    ready_seconds: float
    ehr: Pretend
    plan: Pretend
    hub: Pretend

    async def command(self, *arguments: str) -> dict[str, Any]:
        """Run one of the product's own commands; its JSON answer.

        Raises BridgeError with the command's own sentence when it could not be done.
        """
        process = await start_child(
            this_program(*arguments, "--json"), env=self.env, stdout=PIPE, stderr=PIPE
        )
        printed, said = await process.communicate()
        if process.returncode not in (0, 1) or not printed:
            raise BridgeError(f"`{arguments[0]}` failed: {said.decode().strip()}")
        answer: dict[str, Any] = json.loads(printed)
        if "error" in answer:
            raise BridgeError(f"`{arguments[0]}` was refused: {answer['error']}")
        return answer

    def memory_mib(self) -> dict[str, float]:
        """Resident memory of `serve` and of the worker, now."""
        return {name: _resident_mib(pid) for name, pid in self.pids.items()}


@asynccontextmanager
async def staged(
    settings: Settings, *, script: Mapping[str, Any], folder: Path
) -> AsyncIterator[Stage]:
    """Everything started and every partner registered.

    Raises Misconfigured when the database holds referrals already, BridgeError when something
    does not start.
    """
    await _check_empty(settings)
    logs, drop = folder / "logs", folder / "county-drop"
    for made in (logs, drop, folder / "files"):
        made.mkdir(parents=True, exist_ok=True)
    seed = int(script["seed"])
    children: list[Process] = []
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_stop_all, children)
        log = stack.enter_context((logs / "partners.log").open("wb"))

        async def partner(role: str, *options: str) -> Pretend:
            journal = folder / "journals" / f"{role}.jsonl"
            started = await start_pretend(role, *options, journal=journal, seed=seed, stderr=log)
            children.append(started.process)
            return started

        ehr, plan, hub = await _all_of(
            partner("referring-entity"),
            partner("plan", "--partner", OPERATOR),
            partner("hub", "--out", str(folder / "files"), "--drop", str(drop)),
        )
        bridge = await stack.enter_async_context(open_bridge(settings))
        for path in write_partner_files(
            folder / "partners",
            script["partners"],
            today=date.fromisoformat(script["today"]),
            fhir_base=f"{ehr.base}/fhir",
            drop=drop,
        ):
            for found in read_partners(path):
                await bridge.store.write(register, found, recording=bridge.recording())
        env = _env(settings)
        served = await _serve(env, children, logs / "serve.log")
        yield Stage(
            folder=folder,
            bridge=bridge,
            env={**env, "FHIR_HUB_BRIDGE_BASE_URL": served["fhir"]},
            fhir=served["fhir"],
            console=served["console"],
            pids={"serve": served["pid"], "worker": served["workers"][0]},
            ready_seconds=served["seconds"],
            ehr=ehr,
            plan=plan,
            hub=hub,
        )


async def _all_of(*starting: Awaitable[Pretend]) -> list[Pretend]:
    """All at once; none is left half started when one fails."""
    ended = await asyncio.gather(*starting, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in ended if isinstance(outcome, Pretend)]


async def _check_empty(settings: Settings) -> None:
    """Bring the database to our schema, then look whether anything is in it."""
    store = await open_store(settings.database_url)
    try:
        if await store.read(schema.current) != schema.head():
            await schema.upgrade(store)
        found = await store.read_snapshot(console_queries.overview, now=utc_now(), limit=1)
    finally:
        await store.close()
    if found.loops_open or found.loops_closed:
        raise Misconfigured("The demo needs a database without referrals; this one has some.")


def _env(settings: Settings) -> dict[str, str]:
    """The settings of the children, those of the caller's environment left as they are."""
    return {
        "FHIR_HUB_BRIDGE_DATABASE": settings.database_url,
        "FHIR_HUB_BRIDGE_DATA_FOLDER": str(settings.data_folder),
        "FHIR_HUB_BRIDGE_OPERATOR": settings.operator,
        "FHIR_HUB_BRIDGE_ESCALATION_OWNER": settings.escalation_owner,
        "FHIR_HUB_BRIDGE_RETRY_SECONDS": json.dumps(_RETRY_SECONDS),
    }


async def _serve(env: Mapping[str, str], children: list[Process], log_path: Path) -> dict[str, Any]:
    """Start the product's own `serve`; what it says when it is ready."""
    command = this_program("serve", "--open", "--port", "0", "--json", STOP_WITH_PARENT)
    with log_path.open("wb") as log:
        process = await start_child(command, env=env, stdout=PIPE, stderr=log)
    children.append(process)
    assert process.stdout is not None  # noqa: S101  # asked for
    async with asyncio.timeout(_READY_WITHIN):
        line = await process.stdout.readline()
    if not line:
        raise BridgeError(f"serve did not start; see {log_path}.")
    ready: dict[str, Any] = json.loads(line)
    return ready


async def _stop_all(children: Sequence[Process]) -> None:
    """All at the same time; none of them waits for another."""
    await asyncio.gather(*(stop_child(child, within=_STOP_WITHIN) for child in children))


def _resident_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        found = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return round(int(found.split()[1]) / 1024, 1)
    except (OSError, StopIteration):
        return _resident_mib_by_ps(pid)


def _resident_mib_by_ps(pid: int) -> float:
    """On a Mac there is no /proc."""
    program = shutil.which("ps")
    if program is None:
        return 0.0
    said = subprocess.run(  # noqa: S603  # a number, and a program found on the path
        [program, "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return round(int(said.stdout.strip() or 0) / 1024, 1)
