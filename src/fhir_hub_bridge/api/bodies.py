"""Bodies read from the wire, never more of them than the limit."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fhir_hub_bridge.api.media_types import JSON_PATCH, check_content_type
from fhir_hub_bridge.fhir.codec import to_bytes
from fhir_hub_bridge.fhir.xml_reader import parse_xml

LIMIT_BYTES: Final = 5 * 1024 * 1024

_TOO_LARGE: Final = f"The body is larger than {LIMIT_BYTES // 1024**2} MiB."


async def read_body(request: Request) -> bytes:
    """The whole body. Raises 413 as soon as it is known to be too large, 400 if it breaks off."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > LIMIT_BYTES:
        raise HTTPException(413, _TOO_LARGE)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT_BYTES:
            raise HTTPException(413, _TOO_LARGE)
    return bytes(body)


async def read_resource(request: Request) -> bytes:
    """The FHIR JSON of a body that holds a resource, be it sent as XML.

    Raises 415 for other media types, 413, 400, and ResourceRejected for XML that is not FHIR's.
    """
    sent_as = check_content_type(request)
    body = await read_body(request)
    if sent_as == "json":
        return body
    # A large body takes seconds; others are answered meanwhile.
    return to_bytes(await run_in_threadpool(parse_xml, body))


async def read_patch(request: Request) -> bytes:
    """The JSON Patch of a body. Raises 415 for other kinds of patch, 413, 400."""
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if declared != JSON_PATCH:
        raise HTTPException(415, f"Send a patch as {JSON_PATCH}.", {"Accept-Patch": JSON_PATCH})
    return await read_body(request)


async def read_form(request: Request) -> list[tuple[str, str]]:
    """The name and value pairs of a form, in order. Raises 415 for any other body."""
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if declared != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Send search parameters as application/x-www-form-urlencoded.")
    body = await read_body(request)
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise HTTPException(400, "The form cannot be read, or has over 100 fields.") from None
