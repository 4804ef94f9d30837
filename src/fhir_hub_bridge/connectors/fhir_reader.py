"""A partner's FHIR server read: one GET at a time, of addresses under its registered base only.

What comes back is a value, a failure too. Redirects are never followed, answers are read up to a
limit, one deadline covers the whole request; no credentials are sent, as there are none yet.
Before it: `intake.relay`, `intake.referral_fetched`. Beside it: `fhir_peer`, which sends.
https://hl7.org/fhir/R4/http.html#read
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import httpx

from fhir_hub_bridge.connectors.http_connections import HttpConnections
from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import DEFAULT_LIMITS, Json, parse_json

DEADLINE: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Found:
    """A FHIR resource, parsed but not judged."""

    resource: Json


@dataclass(frozen=True, slots=True)
class NotFound:
    """A definite no: it is not there, or not to be had by us. `detail` is in our own words."""

    detail: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing definite: it may be there."""

    detail: str


Reply: TypeAlias = Found | NotFound | NoAnswer


class FhirReader:
    """Reads from all partners' servers; one instance serves a process. Close it at the end."""

    def __init__(self, *, deadline: timedelta = DEADLINE) -> None:
        """`deadline` is for one request, from connecting to the last byte."""
        self._deadline = deadline.total_seconds()
        self._timeouts = httpx.Timeout(self._deadline, connect=min(10.0, self._deadline)).as_dict()
        self._connections = HttpConnections()

    async def get(self, server: str, path: str, query: Mapping[str, str] | None = None) -> Reply:
        """`path` (`Type` or `Type/id`) under `server`, a registered partner's base address.

        The caller answers for both: `server` never comes from a message.
        """
        try:
            base = httpx.URL(f"{server.rstrip('/')}/{path}")
            url = base.copy_merge_params(dict(query)) if query else base
        except httpx.InvalidURL:
            return NotFound("the registered endpoint is no web address")
        if url.scheme not in ("http", "https") or not url.host:
            return NotFound("the registered endpoint is no web address")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._ask(url, server=server)
        except (TimeoutError, httpx.TimeoutException):
            return NoAnswer(f"no answer within {self._deadline:g} seconds")
        except httpx.HTTPError as error:
            # The class alone: an error's text may quote what was asked.
            return NoAnswer(f"no answer: {type(error).__name__}")

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _ask(self, url: httpx.URL, *, server: str) -> Reply:
        request = httpx.Request(
            "GET",
            url,
            headers={
                "Accept": "application/fhir+json",
                "Accept-Encoding": "identity",  # nothing small is to grow large here
                "User-Agent": "fhir-hub-bridge",
            },
            extensions={"timeout": self._timeouts},
        )
        async with self._connections.borrowed(server) as connection:
            response = await connection.handle_async_request(request)
            try:
                body = await _read(response) if response.status_code == 200 else b""
            finally:
                await response.aclose()
        return _reply(response.status_code, body)


async def _read(response: httpx.Response) -> bytes | None:
    """The body, or None when it is larger than a resource may be here."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > DEFAULT_LIMITS.size_bytes:
            return None
    return bytes(body)


def _reply(status: int, body: bytes | None) -> Reply:
    if status in (408, 425, 429) or status >= 500:
        return NoAnswer(f"HTTP {status}")
    if status != 200:
        return NotFound(f"HTTP {status}", status)
    if body is None:
        return NotFound("HTTP 200, but more than we read", status)
    try:
        resource = parse_json(body)
    except ResourceRejected:
        return NotFound("HTTP 200, but no FHIR JSON", status)
    if not isinstance(resource.get("resourceType"), str):
        return NotFound("HTTP 200, but no FHIR resource", status)
    return Found(resource)
