"""The answers of the pretend FHIR server: resources, searches, outcomes, what it takes.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fhir_hub_bridge.sandbox.fhir_shelf import Stored
from fhir_hub_bridge.sandbox.journal import JsonObject

FHIR_JSON = "application/fhir+json"


def fhir_json(
    content: JsonObject, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Any FHIR content as a response."""
    return JSONResponse(content, status_code=status, headers=headers, media_type=FHIR_JSON)


def stored_resource(stored: Stored) -> Response:
    """A resource with its version in the headers."""
    changed = datetime.fromisoformat(stored.resource["meta"]["lastUpdated"]).astimezone(UTC)
    headers = {
        "Location": stored.location,
        "ETag": stored.etag,
        "Last-Modified": changed.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    return fhir_json(stored.resource, status=stored.status, headers=headers)


def searchset(found: list[JsonObject]) -> JsonObject:
    """A search's result as a Bundle, all on one page."""
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "entry": [{"resource": r, "search": {"mode": "match"}} for r in found],
    }


def operation_outcome(code: str, text: str) -> JsonObject:
    """One error as an OperationOutcome; `code` is a FHIR issue type."""
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


async def capability_statement(request: Request) -> Response:
    """What this server takes."""
    interactions = ("read", "create", "update", "search-type")
    resources = [
        {
            "type": kind,
            "interaction": [{"code": code} for code in interactions],
            "conditionalCreate": True,
            "conditionalUpdate": True,
            "searchParam": [{"name": "identifier", "type": "token"}],
        }
        for kind in ("Communication", "Task")
    ]
    return fhir_json(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-01",
            "kind": "instance",
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "software": {"name": "Pretend referring entity"},
            "implementation": {
                "description": "A made-up EHR for trying things out",
                "url": f"{request.url.scheme}://{request.url.netloc}/fhir",
            },
            "rest": [
                {"mode": "server", "resource": resources, "interaction": [{"code": "transaction"}]}
            ],
        }
    )
