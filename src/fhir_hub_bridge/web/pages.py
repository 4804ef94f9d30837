"""The console: what is open and what is due, and one referral's story. Read-only, no script.

Nothing of a member is shown or stands in an address. After: `doors`, which serves these routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from fhir_hub_bridge.errors import StoreBusy, Unknown
from fhir_hub_bridge.logs import places_of
from fhir_hub_bridge.store import console_queries
from fhir_hub_bridge.web import times, words
from fhir_hub_bridge.web.duties import duties
from fhir_hub_bridge.web.marks import Mark, due_mark, standing_mark
from fhir_hub_bridge.web.timeline import timeline
from fhir_hub_bridge.wiring import Bridge

SHOWN_AT_MOST: Final = 200

_HERE: Final = Path(__file__).parent
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_log = structlog.get_logger()


def console_routes(bridge: Bridge, *, open_mode: bool) -> list[BaseRoute]:
    """The routes below /console. `open_mode` puts the banner on every page."""
    rulebook = bridge.catalog.rulebook
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "words": words,
        "times": times,
        "rulebook": rulebook,
        "open_mode": open_mode,
        "standing_mark": standing_mark,
    }
    css = (_HERE / "static" / "console.css").read_bytes()

    def page(template: str, *, status: int = 200, **context: Any) -> Response:
        html = templates.get_template(template).render(context)
        return HTMLResponse(html, status_code=status, headers=_HEADERS)

    async def open_loops(_: Request) -> Response:
        now = bridge.clock()
        found = await bridge.store.read_snapshot(
            console_queries.overview, now=now, limit=SHOWN_AT_MOST
        )
        rows = [(loop, _due_marks(loop, now=now)) for loop in found.loops]
        return page("open_loops.html", now=now, found=found, rows=rows)

    async def referral(request: Request) -> Response:
        now = bridge.clock()
        story = await bridge.store.read_snapshot(console_queries.story, request.path_params["id"])
        return page(
            "referral.html",
            now=now,
            referral=story.stored.referral,
            held=story.stored.held,
            duties=duties(story, rulebook, now=now),
            days=timeline(story, rulebook),
        )

    async def unknown(_: Request) -> Response:
        raise Unknown

    async def stylesheet(_: Request) -> Response:
        headers = {"Cache-Control": "max-age=3600"}
        return Response(css, media_type="text/css", headers=headers)

    def guarded(run: Callable[[Request], Awaitable[Response]]) -> Any:
        async def endpoint(request: Request) -> Response:
            try:
                return await run(request)
            except Unknown:
                return page("not_found.html", status=404)
            except StoreBusy:
                return page("trouble.html", status=503, request_id="")
            except Exception as error:  # noqa: BLE001  the page's last resort: logged, answered
                return page("trouble.html", status=500, request_id=_logged(request, error))

        return endpoint

    return [
        Route("/console", guarded(open_loops)),
        Route("/console/", guarded(open_loops)),
        Route("/console/console.css", stylesheet),
        Route("/console/referrals/{id}", guarded(referral)),
        Route("/console/{other:path}", guarded(unknown)),
    ]


def _due_marks(loop: console_queries.OpenLoop, *, now: datetime) -> list[Mark]:
    """How urgent the next notice of a loop is, and who has it."""
    late = due_mark(loop.due_at, now=now) if loop.due_at else None
    person = Mark(f"with {loop.escalated_to}", "bad") if loop.escalated_to else None
    return [mark for mark in (late, person) if mark]


def _logged(request: Request, error: Exception) -> str:
    """Log a failure by kind and place, since its text may hold a member's data."""
    request_id: str = getattr(request.state, "request_id", "")
    _log.error(
        "A page failed.",
        error=type(error).__name__,
        request_id=request_id,
        at=places_of(error.__traceback__),
    )
    return request_id
