"""All doors in one application: the FHIR API for programs, the console for people.

`api` and `web` do not know each other; here they meet. Before: `wiring`. After: `cli`, `demo`.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fhir_hub_bridge.api.app import build_app
from fhir_hub_bridge.web.pages import console_routes
from fhir_hub_bridge.wiring import Bridge


def build_doors(bridge: Bridge, *, open_mode: bool) -> FastAPI:
    """The application that a server runs: /fhir, /healthz, /readyz and /console.

    Raises Misconfigured unless `open_mode`, while there is no access control.
    """
    app = build_app(bridge, open_mode=open_mode)
    app.router.routes.extend(console_routes(bridge, open_mode=open_mode))
    app.router.routes.append(Route("/", _to_console))
    return app


async def _to_console(_: Request) -> Response:
    return RedirectResponse("/console")
