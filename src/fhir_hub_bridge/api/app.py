"""The FHIR door put together: every route comes from `registry`, every failure leaves as FHIR.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fhir_hub_bridge.api.addresses import FHIR, base_of, hosts_of
from fhir_hub_bridge.api.call import Call, caller_of
from fhir_hub_bridge.api.envelope import enveloped
from fhir_hub_bridge.api.failures import answer_error, answer_refusal
from fhir_hub_bridge.api.interactions.capabilities import capabilities
from fhir_hub_bridge.api.interactions.create import create
from fhir_hub_bridge.api.interactions.history_instance import history_instance
from fhir_hub_bridge.api.interactions.read import read
from fhir_hub_bridge.api.interactions.search_compartment import search_compartment
from fhir_hub_bridge.api.interactions.search_type import search_type
from fhir_hub_bridge.api.interactions.transaction import transaction
from fhir_hub_bridge.api.interactions.update import update
from fhir_hub_bridge.api.interactions.vread import vread
from fhir_hub_bridge.api.media_types import check_accept
from fhir_hub_bridge.api.registry import (
    CAPABILITIES,
    CREATE,
    HISTORY_INSTANCE,
    READ,
    RESOURCES,
    SEARCH_COMPARTMENT,
    SEARCH_TYPE,
    SYSTEM,
    TRANSACTION,
    UPDATE,
    VREAD,
    Interaction,
)
from fhir_hub_bridge.errors import BridgeError, Misconfigured, StoreBusy
from fhir_hub_bridge.store import schema
from fhir_hub_bridge.wiring import Bridge

Run: TypeAlias = Callable[[Call], Awaitable[Response]]

RUN: Final[Mapping[Interaction, Run]] = MappingProxyType(
    {
        CAPABILITIES: capabilities,
        CREATE: create,
        HISTORY_INSTANCE: history_instance,
        READ: read,
        SEARCH_COMPARTMENT: search_compartment,
        SEARCH_TYPE: search_type,
        TRANSACTION: transaction,
        UPDATE: update,
        VREAD: vread,
    }
)
"""Which function answers which interaction."""


def build_app(bridge: Bridge, *, open_mode: bool) -> FastAPI:
    """The FHIR API below /fhir, and /healthz and /readyz beside it.

    Raises Misconfigured unless `open_mode`: nothing here asks who is calling yet.
    """
    if not open_mode:
        raise Misconfigured("The API has no access control yet; it is served in open mode only.")
    return FastAPI(
        title="FHIR Hub Bridge",
        routes=[*_fhir_routes(bridge), *_health_routes(bridge)],
        exception_handlers={HTTPException: answer_refusal, BridgeError: answer_error},
        middleware=[Middleware(enveloped, hosts=hosts_of(bridge.settings.base_url))],
        openapi_url=None,
        redirect_slashes=False,
    )


def _fhir_routes(bridge: Bridge) -> Iterator[BaseRoute]:
    """One route for each path, so that a wrong method is told which ones are right."""
    paths: dict[str, dict[str, Callable[[Request], Awaitable[Response]]]] = {}
    for type_, interactions in (
        *((served.type, served.interactions) for served in RESOURCES),
        ("", (CAPABILITIES, *SYSTEM)),
    ):
        for interaction in interactions:
            run = RUN[interaction]
            for method, pattern in interaction.requests:
                path = FHIR + pattern.replace("{type}", type_)
                paths.setdefault(path, {})[method] = partial(_answer, run, bridge, type_)
    # A fixed word such as _search stands before the place where an id may stand.
    for path in sorted(paths, key=lambda path: "{" in path):
        by_method = paths[path]
        yield Route(path, partial(_by_method, by_method), methods=list(by_method))


async def _by_method(
    by_method: Mapping[str, Callable[[Request], Awaitable[Response]]], request: Request
) -> Response:
    # HEAD is GET without a body; the server below leaves the body out.
    return await by_method["GET" if request.method == "HEAD" else request.method](request)


async def _answer(run: Run, bridge: Bridge, type_: str, request: Request) -> Response:
    check_accept(request)
    return await run(
        Call(
            request=request,
            bridge=bridge,
            type=type_,
            base=base_of(request),
            caller=await caller_of(request, bridge),
        )
    )


def _health_routes(bridge: Bridge) -> Iterator[BaseRoute]:
    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "up"})

    async def readyz(_: Request) -> Response:
        try:
            await bridge.store.read(schema.current)
        except StoreBusy:
            return JSONResponse({"status": "the store does not answer"}, status_code=503)
        if not bridge.store.health().alive:
            return JSONResponse({"status": "the store takes no writes"}, status_code=503)
        return JSONResponse({"status": "ready"})

    yield Route("/healthz", healthz, methods=["GET"])
    yield Route("/readyz", readyz, methods=["GET"])
