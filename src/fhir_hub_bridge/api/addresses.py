"""Our own address as the caller used it: clients refuse links to a host they did not call.

A host that is not ours is refused: a page of a foreign site whose name was made to point at this
machine must not speak with a door that has no login.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

FHIR: Final = "/fhir"

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


def hosts_of(base_url: str) -> frozenset[str]:
    """The host names we answer to: this machine's own, and our base's as partners reach it."""
    found = _HOST.fullmatch(urlsplit(base_url).netloc)
    return _LOOPBACK | ({found[1].lower()} if found else set())


def is_ours(headers: Headers, hosts: frozenset[str]) -> bool:
    """Whether the Host header names one of these hosts."""
    found = _HOST.fullmatch(headers.get("host", ""))
    return found is not None and found[1].lower() in hosts


def base_of(request: Request) -> str:
    """Our FHIR base as this caller addressed it, without a slash at its end."""
    return f"{request.url.scheme}://{request.headers['host']}{FHIR}"
