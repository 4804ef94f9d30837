"""Responses: stored bytes as they are, with the headers the standard asks for.

https://hl7.org/fhir/R4/http.html#versioning
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from fhir_hub_bridge.api.media_types import FHIR_JSON
from fhir_hub_bridge.api.preconditions import Return, etag, http_date
from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.fhir.codec import Json, parse_instant, parse_json, to_bytes
from fhir_hub_bridge.fhir.outcome import operation_outcome
from fhir_hub_bridge.intake.receive_fhir import Answered
from fhir_hub_bridge.store.resources import Stored

STORED: Final = Issue("", "Stored.", code="informational")
"""What an OperationOutcome says of a write that went well."""


def answer(body: Json, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with this resource as its body."""
    return _response(to_bytes(body), status=status, headers=headers)


def outcome(
    issues: Sequence[Issue], *, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """A response with an OperationOutcome as its body."""
    return answer(operation_outcome(issues), status=status, headers=headers)


def stored_answer(stored: Stored) -> Response:
    """A stored version, as it was stored."""
    return _response(stored.body, headers=version_headers(stored))


def not_modified(stored: Stored) -> Response:
    """304: the caller has this version already."""
    return Response(status_code=304, headers=version_headers(stored))


def version_headers(stored: Stored) -> dict[str, str]:
    """ETag and Last-Modified of a stored version."""
    return {"ETag": etag(stored.version), "Last-Modified": http_date(stored.last_updated)}


def written_answer(written: Answered, wanted: Return) -> Response:
    """The answer to a write, with as much body as was asked for; a refusal always says why."""
    headers = {**_last_modified(written), **written.headers}
    if written.status >= 400 or wanted == "representation":
        return _response(written.body, status=written.status, headers=headers)
    if wanted == "minimal" or not written.body:
        return Response(status_code=written.status, headers=headers)
    done = operation_outcome([STORED], severity="information")
    return answer(done, status=written.status, headers=headers)


def _last_modified(written: Answered) -> dict[str, str]:
    """As the body of a stored resource has it; a Bundle's entries carry their own."""
    if not written.body:
        return {}
    updated = parse_json(written.body).get("meta", {}).get("lastUpdated")
    return {"Last-Modified": http_date(parse_instant(updated))} if updated else {}


def _response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=FHIR_JSON)
