"""The FHIR door put together: every route comes from `registry`, every failure leaves as FHIR.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Final, TypeAlias

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from fhir_hub_bridge.api.addresses import FHIR, base_of, hosts_of
from fhir_hub_bridge.api.call import Call, caller_of
from fhir_hub_bridge.api.envelope import enveloped
from fhir_hub_bridge.api.failures import answer_error, answer_refusal
from fhir_hub_bridge.api.interactions.capabilities import capabilities
from fhir_hub_bridge.api.interactions.create import create
from fhir_hub_bridge.api.interactions.delete import delete
from fhir_hub_bridge.api.interactions.history_instance import history_instance
from fhir_hub_bridge.api.interactions.history_system import history_system
from fhir_hub_bridge.api.interactions.history_type import history_type
from fhir_hub_bridge.api.interactions.patch import patch
from fhir_hub_bridge.api.interactions.read import read
from fhir_hub_bridge.api.interactions.search_compartment import search_compartment
from fhir_hub_bridge.api.interactions.search_type import search_type
from fhir_hub_bridge.api.interactions.transaction import transaction
from fhir_hub_bridge.api.interactions.update import update
from fhir_hub_bridge.api.interactions.vread import vread
from fhir_hub_bridge.api.media_types import check_accept
from fhir_hub_bridge.api.operations.validate import validate
from fhir_hub_bridge.api.registry import (
    BATCH,
    CAPABILITIES,
    CREATE,
    DELETE,
    HISTORY_INSTANCE,
    HISTORY_SYSTEM,
    HISTORY_TYPE,
    PATCH,
    READ,
    RESOURCES,
    SEARCH_COMPARTMENT,
    SEARCH_TYPE,
    SYSTEM,
    TRANSACTION,
    UPDATE,
    VALIDATE,
    VREAD,
    Interaction,
    Operation,
)
from fhir_hub_bridge.api.representation import represented
from fhir_hub_bridge.errors import BridgeError, Misconfigured, StoreBusy
from fhir_hub_bridge.store import schema
from fhir_hub_bridge.wiring import Bridge

Run: TypeAlias = Callable[[Call], Awaitable[Response]]

_WORTH_COMPRESSING: Final = 1400  # bytes: less goes in one packet anyway

RUN: Final[Mapping[Interaction | Operation, Run]] = MappingProxyType(
    {
        BATCH: transaction,
        CAPABILITIES: capabilities,
        CREATE: create,
        DELETE: delete,
        HISTORY_INSTANCE: history_instance,
        HISTORY_SYSTEM: history_system,
        HISTORY_TYPE: history_type,
        PATCH: patch,
        READ: read,
        SEARCH_COMPARTMENT: search_compartment,
        SEARCH_TYPE: search_type,
        TRANSACTION: transaction,
        UPDATE: update,
        VALIDATE: validate,
        VREAD: vread,
    }
)
"""Which function answers which interaction or operation."""


def build_app(bridge: Bridge, *, open_mode: bool) -> FastAPI:
    """The FHIR API below /fhir, and /healthz and /readyz beside it.

    Raises Misconfigured unless `open_mode`: nothing here asks who is calling yet.
    """
    if not open_mode:
        raise Misconfigured("The API has no access control yet; it is served in open mode only.")
    app = FastAPI(
        title="FHIR Hub Bridge",
        version=version("fhir-hub-bridge"),
        routes=[*_fhir_routes(bridge)],
        exception_handlers={HTTPException: answer_refusal, BridgeError: answer_error},
        middleware=[
            Middleware(enveloped, hosts=hosts_of(bridge.settings.base_url)),
            Middleware(GZipMiddleware, minimum_size=_WORTH_COMPRESSING, compresslevel=4),
        ],
        # FHIR describes itself at /fhir/metadata; OpenAPI tells of the rest.
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_health_routes(app, bridge)
    return app


_Table: TypeAlias = Mapping[str, Mapping[str, Run]]
"""What one path does: by resource type ("" for the system), then by method."""


def _fhir_routes(bridge: Bridge) -> Iterator[BaseRoute]:
    """One route for each shape of path; the type is looked up, not searched for."""
    shapes: dict[str, dict[str, dict[str, Run]]] = {}
    asked: list[tuple[str, Sequence[Interaction | Operation]]] = [("", (CAPABILITIES, *SYSTEM))]
    asked += [(served.type, served.interactions) for served in RESOURCES]
    asked += [(served.type, served.operations) for served in RESOURCES]
    for type_, interactions in asked:
        for interaction in interactions:
            for method, shape in interaction.requests:
                shapes.setdefault(shape, {}).setdefault(type_, {})[method] = RUN[interaction]
    # A fixed word such as _search stands before the place where an id or a type may stand.
    for shape in sorted(shapes, key=lambda shape: (shape.count("{"), shape.endswith("}"))):
        yield Route(FHIR + shape, _Shape(bridge, shapes[shape]))


class _Shape:
    """The ASGI application of one shape of path; a function would be served GET alone."""

    def __init__(self, bridge: Bridge, table: _Table) -> None:
        self._bridge = bridge
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        type_ = request.path_params.get("type", "")
        by_method = self._table.get(type_)
        if by_method is None:
            raise HTTPException(404)
        # HEAD is GET without a body; the server below leaves the body out.
        run = by_method.get("GET" if request.method == "HEAD" else request.method)
        allowed = {*by_method, "OPTIONS"} | ({"HEAD"} if "GET" in by_method else set())
        allow = {"Allow": ", ".join(sorted(allowed))}
        if request.method == "OPTIONS":
            answer = Response(status_code=204, headers=allow)
        elif run is None:
            raise HTTPException(405, headers=allow)
        else:
            answer = await _answer(run, self._bridge, type_, request)
        await answer(scope, receive, send)


async def _answer(run: Run, bridge: Bridge, type_: str, request: Request) -> Response:
    check_accept(request)
    response = await run(
        Call(
            request=request,
            bridge=bridge,
            type=type_,
            base=base_of(request),
            caller=await caller_of(request, bridge),
        )
    )
    return represented(request, response)


@dataclass(frozen=True, slots=True)
class Health:
    """What /healthz and /readyz answer."""

    status: str


def _add_health_routes(app: FastAPI, bridge: Bridge) -> None:
    @app.get("/healthz")
    async def healthz() -> Health:
        """Whether the process is up."""
        return Health("up")

    @app.get("/readyz", responses={503: {"model": Health}})
    async def readyz(response: Response) -> Health:
        """Whether the store answers and takes writes; 503 if not."""
        try:
            await bridge.store.read(schema.current)
        except StoreBusy:
            response.status_code = 503
            return Health("the store does not answer")
        if not bridge.store.health().alive:
            response.status_code = 503
            return Health("the store takes no writes")
        return Health("ready")
