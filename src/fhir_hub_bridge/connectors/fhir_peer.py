"""A partner's FHIR server: the frozen Bundle is posted to its base, unchanged on every try.

A server that takes no transaction gets the Bundle's entries one by one, as its agreement says.
Redirects are never followed, answers are read up to a limit, one deadline covers the whole
attempt. Before it: `delivery.dispatch`. After it: `fhir_answer` reads what came back.
https://hl7.org/fhir/R4/http.html#transaction
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

import httpx

from fhir_hub_bridge.connectors.fhir_answer import BODY_LIMIT, read_answer
from fhir_hub_bridge.connectors.http_connections import HttpConnections
from fhir_hub_bridge.connectors.interface import (
    Accepted,
    Answer,
    Message,
    Unavailable,
    Unsendable,
)
from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.faults import fault
from fhir_hub_bridge.fhir.codec import Json, parse_json, to_bytes
from fhir_hub_bridge.referral.parties import Agreement

DEADLINE: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request of a notice."""

    method: Literal["POST", "PUT"]
    url: str
    body: bytes = field(repr=False)
    key: str  # Idempotency-Key: the same on every try
    headers: Mapping[str, str] = field(default_factory=dict)


class FhirPeer:
    """Speaks to all partners' servers; one instance serves a process. Close it at the end."""

    def __init__(self, *, deadline: timedelta = DEADLINE) -> None:
        """`deadline` is for a whole attempt, from connecting to the last byte of the answer."""
        self._deadline = deadline.total_seconds()
        self._timeouts = httpx.Timeout(self._deadline, connect=min(10.0, self._deadline)).as_dict()
        self._connections = HttpConnections()

    async def send(self, message: Message, *, agreement: Agreement, now: datetime) -> Answer:
        """Send the message; of several requests the first that is not accepted is the answer."""
        try:
            requests = requests_of(message, agreement)
        except (ValueError, ResourceRejected) as error:
            return Unsendable(str(error))
        answer: Answer = Unsendable("the message holds nothing to send")
        try:
            async with asyncio.timeout(self._deadline):
                for request in requests:
                    answer = await self._ask(request, message, server=agreement.endpoint, now=now)
                    if not isinstance(answer, Accepted):
                        return answer
        except (TimeoutError, httpx.TimeoutException):
            return Unavailable(f"no answer within {self._deadline:g} seconds")
        except httpx.HTTPError as error:
            # The class alone: an error's text may quote what was sent.
            return Unavailable(f"no answer: {type(error).__name__}")
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _ask(
        self, request: Request, message: Message, *, server: str, now: datetime
    ) -> Answer:
        built = httpx.Request(
            request.method,
            request.url,
            content=_in_halves(request.body),
            headers={
                "Accept": "application/fhir+json",
                "Content-Type": message.media_type,
                "Content-Length": str(len(request.body)),
                "User-Agent": "fhir-hub-bridge",
                "X-Notice-Id": message.notice_id,
                "Idempotency-Key": request.key,
                **request.headers,
            },
            extensions={"timeout": self._timeouts, "trace": _pass_points},
        )
        async with self._connections.borrowed(server) as connection:
            response = await connection.handle_async_request(built)
            try:
                body = await _read(response) if response.is_success else b""
            finally:
                await response.aclose()
        return read_answer(
            response.status_code,
            body,
            media_type=response.headers.get("Content-Type", ""),
            retry_after=response.headers.get("Retry-After", ""),
            now=now,
        )


def requests_of(message: Message, agreement: Agreement) -> list[Request]:
    """The message as the requests this partner takes; the same ones on every try.

    Raises ValueError or ResourceRejected for an endpoint that is no web address, and for bytes that
    cannot be sent one by one.
    """
    base = _web_address(agreement.endpoint)
    if not agreement.single_requests:
        return [Request("POST", base, message.body, key=message.notice_id)]
    entries = parse_json(message.body).get("entry", [])
    keys = [message.notice_id, *(f"{message.notice_id}-{n}" for n in range(2, len(entries) + 1))]
    one = _put if agreement.single_requests == "put" else _post_if_none_exist
    return [one(base, entry, key=key) for entry, key in zip(entries, keys, strict=True)]


_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")  # https://hl7.org/fhir/R4/datatypes.html#id
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")


@lru_cache(maxsize=1024)
def _web_address(endpoint: str) -> str:
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("the agreement's endpoint is not an http or https address")
    return endpoint.rstrip("/")


def _put(base: str, entry: Json, *, key: str) -> Request:
    """`PUT Type/id` by our id: the resource's own, else the one its condition names."""
    resource, type_, query = _parts(entry)
    id_ = resource.get("id") or query.rpartition("|")[2]
    if not _ID.fullmatch(id_):
        raise ValueError("an entry has no id of ours to be put under")
    named = {"resourceType": type_, "id": id_, **resource}
    return Request("PUT", f"{base}/{type_}/{id_}", to_bytes(named), key=key)


def _post_if_none_exist(base: str, entry: Json, *, key: str) -> Request:
    """`POST Type` with If-None-Exist: sent twice, it is stored once."""
    resource, type_, query = _parts(entry)
    if not query:
        raise ValueError("an entry has no condition by which their server knows it again")
    return Request(
        "POST", f"{base}/{type_}", to_bytes(resource), key=key, headers={"If-None-Exist": query}
    )


def _parts(entry: Json) -> tuple[Json, str, str]:
    match entry:
        case {"resource": {"resourceType": str(type_)}, "request": {"url": str(url)}}:
            if _TYPE.fullmatch(type_):
                return entry["resource"], type_, url.partition("?")[2]
    raise ValueError("an entry has no resource and request")


async def _in_halves(body: bytes) -> AsyncIterator[bytes]:
    middle = len(body) // 2
    yield body[:middle]
    fault("K8")
    yield body[middle:]


async def _pass_points(event: str, _: Mapping[str, Any]) -> None:
    match event:
        case "http11.send_request_headers.started":
            fault("K7")
        case "http11.receive_response_headers.started":
            fault("K9")


async def _read(response: httpx.Response) -> bytes | None:
    """The body, or None when it is larger than we read."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)
