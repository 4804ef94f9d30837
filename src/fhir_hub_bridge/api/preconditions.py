"""Headers by which a caller says what must hold, and how much answer it wants.

https://hl7.org/fhir/R4/http.html#concurrency and https://hl7.org/fhir/R4/http.html#ops
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fhir_hub_bridge.fhir.bundle import ETAG, version_in

Return = Literal["representation", "minimal", "OperationOutcome"]


def etag(version: int) -> str:
    """The weak ETag of a resource's version."""
    return f'W/"{version}"'


def http_date(moment: datetime) -> str:
    """An aware UTC datetime as HTTP writes it."""
    return format_datetime(moment, usegmt=True)


def if_match(request: Request) -> int | None:
    """The version that If-Match names, None without it. Raises 400 for any other form."""
    header = request.headers.get("if-match")
    if header is None:
        return None
    version = version_in(header)
    if version is None:
        raise HTTPException(400, 'If-Match must name one version, as in W/"3".')
    return version


def is_known(request: Request, version: int, *, at: datetime) -> bool:
    """Whether the caller says that it has this version, stored `at`, already.

    By If-None-Match; only without it by If-Modified-Since, which counts whole seconds.
    """
    header = request.headers.get("if-none-match")
    if header is not None:
        return header.strip() == "*" or str(version) in ETAG.findall(header)
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return since.tzinfo is not None and at.replace(microsecond=0) <= since


def wanted_return(request: Request) -> Return:
    """What `Prefer: return=` asks for; the whole resource unless it asks for less."""
    return asked_return(request) or "representation"


def asked_return(request: Request) -> Return | None:
    """What `Prefer: return=` asks for; None where it asks for nothing that is known."""
    match _preferences(request).get("return", ""):
        case "minimal":
            return "minimal"
        case "operationoutcome":
            return "OperationOutcome"
        case "representation":
            return "representation"
        case _:
            return None


def is_strict(request: Request) -> bool:
    """Whether `Prefer: handling=strict` asks that unknown search parameters be refused."""
    return _preferences(request).get("handling") == "strict"


def _preferences(request: Request) -> dict[str, str]:
    parts = re.split(r"[,;]", ",".join(request.headers.getlist("prefer")))
    pairs = (part.partition("=") for part in parts)
    return {key.strip().lower(): value.strip().strip('"').lower() for key, _, value in pairs}
