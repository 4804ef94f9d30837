"""How a pretend partner listens: any free port, one `ready` line, and the control routes.

Its HTTP protocol can cut a connection without a byte of answer, which no ordinary ASGI server
lets an application do; a lost answer is the fault that most needs to be real.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fhir_hub_bridge.sandbox.faults import Faults, FaultSyntaxError
from fhir_hub_bridge.sandbox.journal import Journal

_CUT = "sandbox.cut"


class NoAnswer(Response):
    """Closes the connection without answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Cut the connection, then wait until the server has noticed."""
        cut = (scope.get("extensions") or {}).get(_CUT)
        if cut is None:
            raise ConnectionResetError("This server cannot cut a connection.")
        cut["connection"]()
        await receive()


def open_journal(role: str, path: Path | None) -> Journal:
    """The journal at this path, or a new one in the folder for temporary files."""
    name = f"fhir-hub-bridge-sandbox-{role}-{os.getpid()}.jsonl"
    return Journal(path or Path(tempfile.gettempdir()) / name)


def control_routes(
    journal: Journal, faults: Faults, *, reset: Callable[[], None] = lambda: None
) -> list[Route]:
    """`/_requests`, `/_reset` and `/_faults`, the same with every partner.

    `reset` forgets what the partner itself holds.
    """

    async def requests(request: Request) -> Response:
        kind = request.query_params.get("kind")
        found = [e for e in journal.entries if kind is None or e.get("kind") == kind]
        return JSONResponse({"total": len(found), "requests": found})

    async def reset_all(_: Request) -> Response:
        faults.stop_all()
        reset()
        journal.write({"kind": "reset"})
        return JSONResponse({"reset": True})

    async def listed(_: Request) -> Response:
        return JSONResponse({"faults": faults.listed()})

    async def start(request: Request) -> Response:
        try:
            text = (await request.json())["fault"]
            faults.start(str(text))
        except FaultSyntaxError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (ValueError, KeyError, TypeError):
            wanted = '{"fault": "answer=503 for=25s on=Task"}'
            return JSONResponse({"error": f"Send {wanted}."}, status_code=400)
        journal.write({"kind": "fault", "fault": text})
        return JSONResponse({"faults": faults.listed()}, status_code=201)

    async def stop(_: Request) -> Response:
        faults.stop_all()
        journal.write({"kind": "fault", "fault": None})
        return JSONResponse({"faults": []})

    return [
        Route("/_requests", requests, methods=["GET"]),
        Route("/_reset", reset_all, methods=["POST"]),
        Route("/_faults", listed, methods=["GET"]),
        Route("/_faults", start, methods=["POST"]),
        Route("/_faults", stop, methods=["DELETE"]),
    ]


def serve(
    app: Starlette, *, host: str, port: int, journal: Journal, curl: Sequence[str] = ()
) -> None:
    """Listen until stopped; port 0 is any free port. Raises OSError when the port is taken.

    Standard output gets the one line `ready http://HOST:PORT`; where the journal is and lines to
    copy (`{base}` in them is replaced) go to standard error.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    base = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        http=_CuttingProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    hints = [f"journal {journal.path}", *(line.replace("{base}", base) for line in curl)]
    try:
        _AnnouncedServer(config, base=base, hints=hints).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        journal.close()


class _CuttingProtocol(HttpToolsProtocol):
    """Hands the application a way to cut the connection that its request came by."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_CUT: {"connection": self.transport.abort}}


class _AnnouncedServer(uvicorn.Server):
    """Says on standard output when it listens."""

    def __init__(self, config: uvicorn.Config, *, base: str, hints: Sequence[str]) -> None:
        super().__init__(config)
        self._base = base
        self._hints = hints

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for hint in self._hints:
            print(hint, file=sys.stderr)  # noqa: T201
        print(f"ready {self._base}", flush=True)  # noqa: T201
