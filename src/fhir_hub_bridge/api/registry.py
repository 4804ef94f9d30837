"""What the FHIR door serves: the one table that the routes and the CapabilityStatement come from.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fhir_hub_bridge.fhir.search import PARAMETERS, Parameter


@dataclass(frozen=True, slots=True)
class Interaction:
    """An interaction by the standard's code, and the requests that ask for it.

    `requests` are (method, path below the base); `{type}` is the resource type.
    """

    code: str
    requests: tuple[tuple[str, str], ...]


CREATE: Final = Interaction("create", (("POST", "/{type}"),))
READ: Final = Interaction("read", (("GET", "/{type}/{id}"),))
UPDATE: Final = Interaction("update", (("PUT", "/{type}/{id}"),))
VREAD: Final = Interaction("vread", (("GET", "/{type}/{id}/_history/{version}"),))
HISTORY_INSTANCE: Final = Interaction("history-instance", (("GET", "/{type}/{id}/_history"),))
SEARCH_TYPE: Final = Interaction("search-type", (("GET", "/{type}"), ("POST", "/{type}/_search")))
TRANSACTION: Final = Interaction("transaction", (("POST", ""), ("POST", "/")))
CAPABILITIES: Final = Interaction("capabilities", (("GET", "/metadata"),))


@dataclass(frozen=True, slots=True)
class Served:
    """One resource type and what can be done with it."""

    type: str
    interactions: tuple[Interaction, ...]

    @property
    def search_parameters(self) -> tuple[Parameter, ...]:
        """What the type can be searched by; nothing where it cannot be searched."""
        searched = SEARCH_TYPE in self.interactions
        return tuple(PARAMETERS[self.type].values()) if searched else ()


_KEPT: Final = (READ, VREAD, HISTORY_INSTANCE)
_TAKEN: Final = (CREATE, *_KEPT)

RESOURCES: Final = (
    Served("Task", (CREATE, READ, UPDATE, VREAD, HISTORY_INSTANCE, SEARCH_TYPE)),
    Served("ServiceRequest", (CREATE, READ, UPDATE, VREAD, HISTORY_INSTANCE)),
    Served("Patient", _TAKEN),
    Served("Organization", _TAKEN),
    Served("Coverage", _TAKEN),
    Served("ClaimResponse", _TAKEN),
    Served("Communication", _KEPT),
    Served("CommunicationRequest", _KEPT),
    Served("Provenance", _KEPT),
)
SYSTEM: Final = (TRANSACTION,)
