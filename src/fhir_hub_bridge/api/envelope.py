"""What every response carries, whichever door it leaves by: request id, caution headers, and a
plain answer where a route failed. The outermost layer of the application.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_hub_bridge.api.addresses import is_ours
from fhir_hub_bridge.api.answers import outcome
from fhir_hub_bridge.api.failures import answer_failure
from fhir_hub_bridge.api.representation import represented
from fhir_hub_bridge.errors import Issue

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def enveloped(app: ASGIApp, *, hosts: frozenset[str]) -> ASGIApp:
    """The application, answering only to these host names, with its responses in order."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _complete(MutableHeaders(scope=message), request_id)
            await send(message)

        if not is_ours(headers, hosts):
            refusal = Issue("", "This host name is not served here.", code="not-supported")
            response = represented(Request(scope), outcome([refusal], status=421))
            await response(scope, receive, send_with_headers)
            return
        try:
            await app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  the outermost layer: logged, answered, gone on
            response = answer_failure(Request(scope), error)
            if started:
                # Half an answer is out; breaking the connection is all that is left to say.
                raise RuntimeError("a response broke off") from None
            await response(scope, receive, send_with_headers)

    return call


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _complete(headers: MutableHeaders, request_id: str) -> None:
    headers["X-Request-Id"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")
