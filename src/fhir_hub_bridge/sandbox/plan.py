"""A pretend managed care plan: decides, assigns and closes by FHIR on somebody's bridge.

It acts when told to (`POST /act`) or, with a script, whenever its Tasks on the bridge change.
The Task it puts back names the version it read; if that has moved on, it reads again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_hub_bridge.sandbox.bridge_client import BridgeClient
from fhir_hub_bridge.sandbox.faults import Faults
from fhir_hub_bridge.sandbox.fhir_shelf import identifiers_of
from fhir_hub_bridge.sandbox.journal import Journal, JsonObject
from fhir_hub_bridge.sandbox.plan_acts import StepError, act_bundle, business_status
from fhir_hub_bridge.sandbox.server import control_routes, open_journal, serve

logger = logging.getLogger(__name__)

_READS = 5
_DONE = {200, 201}
# Two writers may commit out of order; asking a little further back misses neither.
_OVERLAP = timedelta(seconds=2)
_CURL = (
    "curl {base}/_requests",
    """curl -X POST {base}/act -d '{"identifier": "R-0001", "steps": """
    """[{"act": "decide", "status": "approved", "number": "A-1", "basis": "prior"}]}'""",
)

Script = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Which plan this is and where its bridge is (`bridge` is the FHIR base)."""

    bridge: str = ""
    partner: str = "golden-plan"
    organization: str = ""  # id of its Organization on the bridge; the partner id where empty
    poll_seconds: float = 1.0


def app(
    settings: PlanSettings,
    *,
    journal: Journal,
    faults: Faults,
    script: Script | None = None,
    seed: int = 1,
) -> Starlette:
    """The plan as an ASGI application; steps that its journal holds as done are not done again."""
    plan = Plan(settings, journal=journal, faults=faults, script=script or {}, seed=seed)

    @asynccontextmanager
    async def polling(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(plan.poll_forever()) if script and settings.bridge else None
        yield
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await plan.close()

    return Starlette(
        routes=[
            Route("/act", plan.act_on_request, methods=["POST"]),
            *control_routes(journal, faults, reset=plan.reset),
        ],
        lifespan=polling,
    )


def run(
    *,
    port: int = 0,
    seed: int = 1,
    journal: Path | None = None,
    fault: Sequence[str] = (),
    host: str = "127.0.0.1",
    bridge: str = "",
    partner: str = "golden-plan",
    organization: str = "",
    script: Path | None = None,
    poll_seconds: float = 1.0,
) -> None:
    """Serve until stopped. `script` is a JSON file: referral identifier to list of steps.

    Raises FaultSyntaxError, ValueError for a script that is no JSON, OSError.
    """
    faults = Faults(fault)
    steps = json.loads(script.read_text("utf-8")) if script else None
    settings = PlanSettings(
        bridge=bridge, partner=partner, organization=organization, poll_seconds=poll_seconds
    )
    kept = open_journal("plan", journal)
    made = app(settings, journal=kept, faults=faults, script=steps, seed=seed)
    serve(made, host=host, port=port, journal=kept, curl=_CURL)


class Plan:
    """One plan at work: its connection to the bridge and how far it is in its script."""

    def __init__(
        self,
        settings: PlanSettings,
        *,
        journal: Journal,
        faults: Faults,
        script: Script,
        seed: int,
    ) -> None:
        """Take up the script where the journal says it was left."""
        self._settings = settings
        self._organization = settings.organization or settings.partner
        self._journal = journal
        self._faults = faults
        self._script = script
        self._random = random.Random(seed)
        self._lock = asyncio.Lock()
        self._client = BridgeClient(partner=settings.partner)
        self._since: datetime | None = None
        self._seen: set[tuple[str, str]] = set()
        self._done: dict[str, int] = {}
        for entry in journal.entries:
            if entry["kind"] == "sent" and entry.get("step") and entry["status"] in _DONE:
                self._done[entry["identifier"]] = entry["step"]

    def reset(self) -> None:
        """Start the script from the beginning."""
        self._done.clear()
        self._seen.clear()
        self._since = None

    async def close(self) -> None:
        """Close the connection to the bridge."""
        await self._client.close()

    async def act_on_request(self, request: Request) -> Response:
        """`POST /act`: do these steps on this referral at once, in order, up to the first no."""
        try:
            order = await request.json()
            identifier, steps = str(order["identifier"]), list(order["steps"])
            bridge = str(order.get("bridge") or self._settings.bridge).rstrip("/")
        except (ValueError, KeyError, TypeError, AttributeError):
            wanted = '{"identifier": "R-0001", "steps": [{"act": "decide", ...}]}'
            return JSONResponse({"error": f"Send {wanted}."}, status_code=400)
        if not bridge:
            return JSONResponse({"error": "No bridge: start with --bridge."}, status_code=400)
        self._journal.write({"kind": "received", "identifier": identifier, "steps": steps})
        try:
            async with self._lock:
                task = await self._find(bridge, identifier)
                if task is None:
                    error = {"error": "The bridge has no such Task of this plan."}
                    return JSONResponse(error, status_code=404)
                outcomes = await self._play(bridge, identifier, task_id=task["id"], steps=steps)
        except StepError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except httpx.HTTPError as error:
            return JSONResponse({"error": type(error).__name__}, status_code=502)
        ok = len(outcomes) == len(steps) and all(o["status"] in _DONE for o in outcomes)
        answer = {"identifier": identifier, "task": task["id"], "ok": ok, "outcomes": outcomes}
        return JSONResponse(answer)

    async def poll_forever(self) -> None:
        """Look for changed Tasks again and again; trouble with the bridge is tried again."""
        while True:
            try:
                async with self._lock:
                    await self.poll_once()
            except (httpx.HTTPError, StepError, KeyError, ValueError):
                logger.warning("Polling the bridge failed; it is tried again.")
            await asyncio.sleep(self._settings.poll_seconds)

    async def poll_once(self) -> None:
        """Read the Tasks changed since the last look and play what the script says is next."""
        bridge = self._settings.bridge.rstrip("/")
        query = {"owner": f"Organization/{self._organization}"}
        if self._since is not None:
            since = (self._since - _OVERLAP).isoformat(timespec="milliseconds")
            query["_lastUpdated"] = "gt" + since.replace("+00:00", "Z")
        moments: list[datetime] = []
        played = True
        for task in await self._client.tasks(bridge, **query):
            version = (task["id"], task["meta"]["versionId"])
            moments.append(datetime.fromisoformat(task["meta"]["lastUpdated"]))
            if version in self._seen:
                continue
            if await self._play_next(bridge, task):
                self._seen.add(version)
            else:
                played = False
        if played and moments:
            self._since = max(moments)

    async def _play_next(self, bridge: str, task: JsonObject) -> bool:
        """Play the script's next steps on this Task; False when one must be tried again."""
        identifier = next((v for _, v in identifiers_of(task) if v in self._script), None)
        if identifier is None or "partOf" in task:
            return True
        for number, step in enumerate(self._script[identifier], start=1):
            if number <= self._done.get(identifier, 0):
                continue
            current, _ = await self._client.task(bridge, task["id"])
            if step.get("when") and business_status(current) != step["when"]:
                return True
            outcome = await self._act(bridge, identifier, task["id"], step=step, number=number)
            if outcome["status"] not in _DONE:
                return _is_definite_no(outcome["status"])
            self._done[identifier] = number
        return True

    async def _play(
        self, bridge: str, identifier: str, *, task_id: str, steps: Sequence[Mapping[str, Any]]
    ) -> list[JsonObject]:
        outcomes: list[JsonObject] = []
        for step in steps:
            outcomes.append(await self._act(bridge, identifier, task_id, step=step))
            if outcomes[-1]["status"] not in _DONE:
                break
        return outcomes

    async def _act(
        self,
        bridge: str,
        identifier: str,
        task_id: str,
        *,
        step: Mapping[str, Any],
        number: int = 0,
    ) -> JsonObject:
        """Do one step, reading the Task anew as often as it has moved on meanwhile."""
        fault = self._faults.take("act", identifiers=(identifier,))
        line = {"identifier": identifier, "task": task_id, "act": step.get("act"), "step": number}
        outcome: JsonObject = {}
        for attempt in range(1, _READS + 1):
            task, version = await self._client.task(bridge, task_id)
            if fault is not None and fault.value == "stale" and attempt == 1:
                version = 'W/"0"'
            bundle = act_bundle(
                task,
                step,
                plan=self._organization,
                today=date.today(),  # noqa: DTZ011 - the plan's own day, where it is
                uuid=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
                if_match=version,
            )
            body = json.dumps(bundle, ensure_ascii=False).encode()
            outcome = await self._send(bridge, body, line={**line, "if_match": version})
            if fault is not None and fault.value == "twice":
                await self._send(bridge, body, line={**line, "if_match": version})
            if outcome["status"] not in {409, 412}:
                break
        return outcome

    async def _send(self, bridge: str, body: bytes, *, line: JsonObject) -> JsonObject:
        status, content = await self._client.post(bridge, body)
        sha256 = hashlib.sha256(body).hexdigest()
        self._journal.write({"kind": "sent", **line, "sha256": sha256, "status": status})
        outcome: JsonObject = {"act": line["act"], "status": status}
        return outcome if status in _DONE else {**outcome, "body": content}

    async def _find(self, bridge: str, identifier: str) -> JsonObject | None:
        owner = f"Organization/{self._organization}"
        found = await self._client.tasks(bridge, identifier=identifier, owner=owner)
        return next((task for task in found if "partOf" not in task), None)


def _is_definite_no(status: int) -> bool:
    """Whether asking again is useless."""
    return 400 <= status < 500 and status not in {408, 409, 412, 429}
