"""The commands as a user starts them: own processes, their answers, and who is still alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROGRAM = (sys.executable, "-m", "fhir_hub_bridge")


# Everybody here is made up. The clinic is told at `endpoint`.
PARTNERS = """
[[partner]]
id = "golden-plan"
name = "Golden Test Health Plan"
kind = "managed-care-plan"
plan_codes = ["GOLD01"]

[[partner]]
id = "harbor-ecm"
name = "Harbor Test Care Management"
kind = "provider"
npi = "1999000064"
tin = "99-9900006"

[[partner]]
id = "river-clinic"
name = "River Test Clinic"
kind = "referring-entity"

[partner.agreement]
method = "fhir-push"
endpoint = "{endpoint}"
proof = "2xx"
notify_from = 2026-01-01
"""


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a command whose files all lie in `folder`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FHIR_HUB_BRIDGE_")}
    ours = {"DATA_FOLDER": str(folder), "OPERATOR": "golden-plan", **settings}
    return {**kept, **{f"FHIR_HUB_BRIDGE_{name.upper()}": value for name, value in ours.items()}}


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object it printed."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


def run_command(*arguments: str, env: Mapping[str, str], seconds: float = 60) -> Done:
    """Run a command to its end."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Serving:
    """A running `serve`."""

    process: subprocess.Popen[str]
    ready: Mapping[str, Any]
    log: Path

    @property
    def fhir(self) -> str:
        """Its FHIR base."""
        return str(self.ready["fhir"])

    @property
    def worker(self) -> int:
        """The process id of the worker it started first."""
        return int(self.ready["workers"][0])

    def get(self, path: str) -> httpx.Response:
        """A page or resource, by its path below the address."""
        with httpx.Client(timeout=10, trust_env=False) as client:
            return client.get(self.fhir.removesuffix("/fhir") + path)

    def post(self, document: Any, *, partner: str = "", path: str = "") -> httpx.Response:
        """A FHIR request as this partner."""
        headers = {"Content-Type": "application/fhir+json"}
        headers |= {"X-Partner": partner} if partner else {}
        with httpx.Client(timeout=30, trust_env=False) as client:
            return client.post(self.fhir + path, content=json.dumps(document), headers=headers)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serving(folder: Path, *options: str, env: Mapping[str, str]) -> Iterator[Serving]:
    """`serve --open` on a free port, ready; stopped at the end if it still runs."""
    log = folder / "serve.log"
    with log.open("w") as err:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--open", "--port", "0", "--json", *options],
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Serving(process, json.loads(line), log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)
        process.stdout.close()


def registered(folder: Path, endpoint: str, **settings: str) -> dict[str, str]:
    """The environment of commands on a database that knows the partners."""
    env = environment(folder, **settings)
    file = folder / "partners.toml"
    file.write_text(PARTNERS.format(endpoint=endpoint))
    added = run_command("partner", "add", str(file), env=env)
    assert added.exit_code == 0, added.err
    return env


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended but was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(holds: Callable[[], Any], *, seconds: float = 20) -> Any:
    """The first true answer; fails when none comes in time."""
    give_up_at = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < give_up_at, "it did not come about in time"
        time.sleep(0.05)
    return answer
