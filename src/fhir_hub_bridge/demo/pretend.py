"""A pretend partner as a process of its own, spoken to over HTTP like a stranger."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from fhir_hub_bridge.errors import PartnerTrouble
from fhir_hub_bridge.processes import STOP_WITH_PARENT, start_child

_READY_WITHIN = 30.0  # seconds
_ANSWER_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Pretend:
    """A running pretend partner: where it listens and what it has got, on disk."""

    role: str
    base: str
    journal: Path
    process: Process

    async def ask(self, method: str, path: str, document: Any = None) -> Any:
        """Its JSON answer. Raises PartnerTrouble for any but a 2xx."""
        return await asyncio.to_thread(self._ask, method, path, document)

    async def fault(self, text: str) -> None:
        """Make it do something wrong, as `answer=503 for=25s`."""
        await self.ask("POST", "/_faults", {"fault": text})

    async def heal(self) -> None:
        """Take all faults away."""
        await self.ask("DELETE", "/_faults")

    def _ask(self, method: str, path: str, document: Any) -> Any:
        place = urlsplit(self.base)
        connection = http.client.HTTPConnection(
            place.hostname or "", place.port, timeout=_ANSWER_WITHIN
        )
        try:
            body = None if document is None else json.dumps(document).encode()
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise PartnerTrouble(
                f"The pretend {self.role} did not answer: {type(error).__name__}."
            ) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise PartnerTrouble(f"The pretend {self.role} answered {path} with {answer.status}.")
        return json.loads(content)


async def start_pretend(
    role: str, *options: str, journal: Path, seed: int, stderr: IO[bytes]
) -> Pretend:
    """Start one on a free port; it is listening when this returns. Raises PartnerTrouble."""
    shared = ("--port", "0", "--seed", str(seed), "--journal", str(journal), STOP_WITH_PARENT)
    process = await start_child(sandbox(role, *shared, *options), stdout=PIPE, stderr=stderr)
    assert process.stdout is not None  # noqa: S101  # asked for
    async with asyncio.timeout(_READY_WITHIN):
        line = (await process.stdout.readline()).decode().strip()
    if not line.startswith("ready "):
        raise PartnerTrouble(f"The pretend {role} did not start.")
    return Pretend(role, line.removeprefix("ready "), journal, process)


async def read_script(*, seed: int, today: str) -> dict[str, Any]:
    """The made-up referrals and how each must end, from the sandbox."""
    process = await start_child(sandbox("cast", "--seed", str(seed), "--today", today), stdout=PIPE)
    printed, _ = await process.communicate()
    if process.returncode:
        raise PartnerTrouble("The sandbox told no script.")
    script: dict[str, Any] = json.loads(printed)
    return script


def sandbox(*arguments: str) -> Sequence[str]:
    """The command line of the sandbox."""
    return [sys.executable, "-m", "fhir_hub_bridge.sandbox", *arguments]
