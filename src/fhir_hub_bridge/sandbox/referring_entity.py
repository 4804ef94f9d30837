"""A pretend referring entity: an EHR that sends referrals and has a FHIR server to be told on.

Whatever it is told is in its journal, by notice id and SHA-256 of the exact body, before it
answers. It can fail in the ways partners do; see `faults`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_hub_bridge.sandbox.faults import Fault, Faults
from fhir_hub_bridge.sandbox.fhir_answers import (
    FHIR_JSON,
    capability_statement,
    fhir_json,
    operation_outcome,
    searchset,
    stored_resource,
)
from fhir_hub_bridge.sandbox.fhir_shelf import FhirError, Shelf, Stored, identifiers_of
from fhir_hub_bridge.sandbox.journal import Journal, JsonObject
from fhir_hub_bridge.sandbox.notice_reading import (
    identifier_values,
    read_notices,
    resources_in,
)
from fhir_hub_bridge.sandbox.server import NoAnswer, control_routes, open_journal, serve

_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]
_HOLD_SECONDS = 60.0
_CURL = (
    "curl {base}/_requests",
    """curl -X POST {base}/_faults -d '{"fault": "answer=503 for=25s on=Communication"}'""",
    "curl {base}/fhir/metadata",
)


def app(*, journal: Journal, faults: Faults, seed: int = 1) -> Starlette:
    """The EHR as an ASGI application; what its journal already holds counts as told."""
    ehr = _Ehr(journal=journal, faults=faults, seed=seed)
    return Starlette(
        routes=[
            Route("/fhir/metadata", capability_statement, methods=["GET"]),
            Route("/fhir", ehr.fhir, methods=_METHODS),
            Route("/fhir/{path:path}", ehr.fhir, methods=_METHODS),
            Route("/send", ehr.send, methods=["POST"]),
            *control_routes(journal, faults, reset=ehr.reset),
        ]
    )


def run(
    *,
    port: int = 0,
    seed: int = 1,
    journal: Path | None = None,
    fault: Sequence[str] = (),
    host: str = "127.0.0.1",
    role: str = "referring-entity",
) -> None:
    """Serve until stopped. Raises FaultSyntaxError, or OSError when the port is taken.

    As `provider` it is the same server: what it is sent are copies of referrals, and whoever plays
    the provider moves their Tasks by PUT.
    """
    faults = Faults(fault)
    kept = open_journal(role, journal)
    made = app(journal=kept, faults=faults, seed=seed)
    serve(made, host=host, port=port, journal=kept, curl=_CURL)


class _Ehr:
    """One EHR: what it holds, what it was told, which referrals are its own."""

    def __init__(self, *, journal: Journal, faults: Faults, seed: int) -> None:
        self._journal = journal
        self._faults = faults
        self._shelf = Shelf(seed=seed)
        self._told: dict[str, str] = {}
        self._own: dict[str, None] = {}
        for entry in journal.entries:
            if entry["kind"] in {"received", "duplicate"} and entry.get("notice"):
                self._told.setdefault(entry["notice"], entry["sha256"])
            for value in entry.get("referrals", []) if entry["kind"] == "sent" else []:
                self._own[value] = None

    def reset(self) -> None:
        self._shelf.clear()
        self._told.clear()
        self._own.clear()

    async def fhir(self, request: Request) -> Response:
        """One FHIR request: read it, let a fault strike, else do it, journal it, answer it."""
        body = await request.body()
        document = _parsed(body)
        resources = resources_in(document)
        types = {str(r.get("resourceType")) for r in resources} | {_path(request).split("/")[0]}
        fault = self._faults.take(
            "answer", types=types - {""}, identifiers=identifier_values(resources)
        )
        line = {
            "method": request.method,
            "path": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        if fault is not None and fault.value not in {"lost", "twice"}:
            self._write("refused", line, resources=resources, note={"answer": fault.value})
            return await _faulty(fault)
        try:
            response = self._done(request, document)
        except FhirError as error:
            note = {"answer": str(error.status), "why": error.text}
            self._write("rejected", line, resources=resources, note=note)
            response = fhir_json(operation_outcome(error.code, error.text), status=error.status)
            return NoAnswer() if fault is not None and fault.value == "lost" else response
        note = {} if fault is None else {"fault": fault.value}
        kind = "read" if request.method == "GET" else "received"
        for _ in range(2 if fault is not None and fault.value == "twice" else 1):
            self._write(kind, line, resources=resources, note=note)
        return NoAnswer() if fault is not None and fault.value == "lost" else response

    async def send(self, request: Request) -> Response:
        """Post a Bundle to a bridge as this EHR; answer with what the bridge answered."""
        import httpx

        try:
            order = await request.json()
            bridge, bundle = str(order["bridge"]), order["bundle"]
            headers = {str(k): str(v) for k, v in order.get("headers", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            wanted = '{"bridge": FHIR base, "bundle": {...}, "headers": {...}}'
            return JSONResponse({"error": f"Send {wanted}."}, status_code=400)
        body = json.dumps(bundle, ensure_ascii=False).encode()
        referrals = _referral_ids(bundle)
        self._own.update(dict.fromkeys(referrals))
        line = {
            "kind": "sent",
            "method": "POST",
            "path": bridge,
            "sha256": hashlib.sha256(body).hexdigest(),
            "referrals": referrals,
        }
        headers = {"Content-Type": FHIR_JSON, "Accept": FHIR_JSON, **headers}
        try:
            async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
                answer = await client.post(bridge, content=body, headers=headers)
        except httpx.HTTPError as error:
            self._journal.write({**line, "status": None, "error": type(error).__name__})
            return JSONResponse({"status": None, "error": type(error).__name__}, status_code=502)
        self._journal.write({**line, "status": answer.status_code})
        told = {k: v for k, v in answer.headers.items() if k in {"location", "etag", "retry-after"}}
        return JSONResponse(
            {"status": answer.status_code, "headers": told, "body": _body_of(answer.content)}
        )

    def _done(self, request: Request, document: Any) -> Response:
        path = _path(request)
        kind, _, id_ = path.partition("/")
        if request.method == "GET":
            if id_:
                return stored_resource(Stored(200, self._shelf.read(kind, id_)))
            if not kind:
                raise FhirError(400, "not-supported", "There is nothing to read here.")
            return fhir_json(searchset(self._shelf.search(kind, request.url.query)))
        if not isinstance(document, dict):
            raise FhirError(400, "structure", "The body is not a JSON object.")
        match request.method, kind:
            case "POST", "":
                return fhir_json(self._shelf.transaction(document))
            case "POST", _ if not id_ and kind == document.get("resourceType"):
                condition = request.headers.get("if-none-exist", "").lstrip("?")
                return stored_resource(self._shelf.create(document, if_none_exist=condition))
            case "PUT", _ if kind:
                url = f"{path}?{request.url.query}" if request.url.query else path
                if_match = request.headers.get("if-match", "")
                return stored_resource(self._shelf.put(url, document, if_match=if_match))
            case _:
                raise FhirError(400, "not-supported", "That is not taken here.")

    def _write(
        self, kind: str, line: JsonObject, *, resources: list[JsonObject], note: JsonObject
    ) -> None:
        """Journal the request, a line for each notice it carries; repeats are `duplicate`."""
        lines: list[JsonObject] = []
        told: dict[str, str] = {}
        for notice in read_notices(resources, own=self._own):
            first = self._told.get(notice["notice"])
            repeated = kind == "received" and first is not None
            if kind == "received" and not repeated:
                told[notice["notice"]] = line["sha256"]
            same = {"same_bytes": first == line["sha256"]} if repeated else {}
            told_kind = "duplicate" if repeated else kind
            lines.append({"kind": told_kind, **line, **notice, **same, **note})
        self._journal.write(*(lines or [{"kind": kind, **line, "notice": None, **note}]))
        self._told.update(told)


async def _faulty(fault: Fault) -> Response:
    """The answer of a fault that keeps the request from being done."""
    if fault.value == "timeout":
        await asyncio.sleep(_HOLD_SECONDS if fault.lasts_seconds is None else fault.lasts_seconds)
        return NoAnswer()
    if fault.value == "garbage":
        return Response("<html><body>It works!</body></html>", media_type="text/html")
    later = fault.retry_after_seconds
    headers = {} if later is None else {"Retry-After": str(later)}
    if fault.value == "refused":
        return fhir_json(operation_outcome("invalid", "This server does not take it."), status=400)
    transient = operation_outcome("transient", "This server has trouble just now.")
    return fhir_json(transient, status=fault.status or 500, headers=headers)


def _path(request: Request) -> str:
    return str(request.path_params.get("path", "")).strip("/")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _body_of(content: bytes) -> Any:
    parsed = _parsed(content)
    return content.decode(errors="replace") if parsed is None else parsed


def _referral_ids(bundle: Any) -> list[str]:
    found = [r for r in resources_in(bundle) if r.get("resourceType") in {"ServiceRequest", "Task"}]
    return list(dict.fromkeys(value for r in found for _, value in identifiers_of(r)))
