"""One request as an interaction sees it: what was asked, by whom, and the parts that answer it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fhir_hub_bridge.errors import Unknown
from fhir_hub_bridge.store.partners import find_partner
from fhir_hub_bridge.wiring import Bridge

_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request to one resource type, or to the system (`type` is then empty)."""

    request: Request
    bridge: Bridge
    type: str
    base: str  # our FHIR base as the caller addressed it
    caller: str  # partner id the client acts as; empty: the operator

    @property
    def id(self) -> str:
        """The resource id of the address. Raises Unknown for what cannot be one."""
        found: str = self.request.path_params["id"]
        if not _ID.fullmatch(found):
            raise Unknown(f"There is no {self.type} with this id.")
        return found

    @property
    def version(self) -> int:
        """The version number of the address. Raises Unknown for what cannot be one."""
        found: str = self.request.path_params["version"]
        if not _VERSION.fullmatch(found):
            raise Unknown(f"There is no such version of this {self.type}.")
        return int(found)


async def caller_of(request: Request, bridge: Bridge) -> str:
    """The partner that X-Partner names, or "" for the operator. Raises 403 for an unknown one.

    For open mode only: there is no login, so anyone on this machine may act as any partner.
    """
    named = request.headers.get("x-partner", "").strip()
    if not named:
        return ""
    try:
        return (await bridge.store.read(find_partner, named)).id
    except Unknown:
        raise HTTPException(403, "X-Partner names no registered partner.") from None
