"""What the FHIR door serves: the one table that the routes and the CapabilityStatement come from.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fhir_hub_bridge.api.compartment import in_compartment
from fhir_hub_bridge.fhir.search import PARAMETERS, Parameter
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES
from fhir_hub_bridge.intake.fhir_request import WRITABLE


@dataclass(frozen=True, slots=True)
class Interaction:
    """An interaction by the standard's code, and the requests that ask for it.

    `requests` are (method, path below the base); `{type}` is the resource type. An interaction
    without any comes by the requests of another: a batch is posted where a transaction is.
    """

    code: str
    requests: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation by its name without the dollar sign, its requests and its definition's URL."""

    name: str
    requests: tuple[tuple[str, str], ...]
    definition: str


CREATE: Final = Interaction("create", (("POST", "/{type}"),))
READ: Final = Interaction("read", (("GET", "/{type}/{id}"),))
UPDATE: Final = Interaction("update", (("PUT", "/{type}/{id}"), ("PUT", "/{type}")))
PATCH: Final = Interaction("patch", (("PATCH", "/{type}/{id}"),))
DELETE: Final = Interaction("delete", (("DELETE", "/{type}/{id}"),))
VREAD: Final = Interaction("vread", (("GET", "/{type}/{id}/_history/{version}"),))
HISTORY_INSTANCE: Final = Interaction("history-instance", (("GET", "/{type}/{id}/_history"),))
HISTORY_TYPE: Final = Interaction("history-type", (("GET", "/{type}/_history"),))
SEARCH_TYPE: Final = Interaction("search-type", (("GET", "/{type}"), ("POST", "/{type}/_search")))
# The resources of a type that are about one patient.
SEARCH_COMPARTMENT: Final = Interaction(
    "search-type", (("GET", "/Patient/{id}/{type}"), ("POST", "/Patient/{id}/{type}/_search"))
)
TRANSACTION: Final = Interaction("transaction", (("POST", ""), ("POST", "/")))
BATCH: Final = Interaction("batch", ())
HISTORY_SYSTEM: Final = Interaction("history-system", (("GET", "/_history"),))
CAPABILITIES: Final = Interaction("capabilities", (("GET", "/metadata"),))
VALIDATE: Final = Operation(
    "validate",
    (
        ("POST", "/{type}/$validate"),
        ("POST", "/{type}/{id}/$validate"),
        ("GET", "/{type}/{id}/$validate"),
    ),
    "http://hl7.org/fhir/OperationDefinition/Resource-validate",
)


@dataclass(frozen=True, slots=True)
class Served:
    """One resource type and what can be done with it."""

    type: str
    interactions: tuple[Interaction, ...]
    operations: tuple[Operation, ...] = (VALIDATE,)

    @property
    def codes(self) -> tuple[str, ...]:
        """The standard's codes of the interactions, each once."""
        return tuple(dict.fromkeys(interaction.code for interaction in self.interactions))

    @property
    def search_parameters(self) -> tuple[Parameter, ...]:
        """What the type can be searched by; nothing where it cannot be searched."""
        searched = SEARCH_TYPE in self.interactions
        return tuple(PARAMETERS[self.type].values()) if searched else ()

    @property
    def takes_conditions(self) -> bool:
        """Whether a create or update may name its resource by a search."""
        return UPDATE in self.interactions and SEARCH_TYPE in self.interactions


_SERVED: Final = tuple(sorted(SUPPORTED_TYPES - {"Bundle"}))


def _interactions(type_: str) -> tuple[Interaction, ...]:
    """What can be done with a type: written as `intake` takes it, searched where it is indexed."""
    asked = (
        (CREATE, type_ in WRITABLE["POST"]),
        (READ, True),
        (UPDATE, type_ in WRITABLE["PUT"]),
        (PATCH, type_ in WRITABLE["PATCH"]),
        (DELETE, type_ in WRITABLE["DELETE"]),
        (VREAD, True),
        (HISTORY_INSTANCE, True),
        (HISTORY_TYPE, True),
        (SEARCH_TYPE, type_ in PARAMETERS),
        (SEARCH_COMPARTMENT, bool(in_compartment("any", type_))),
    )
    return tuple(interaction for interaction, is_served in asked if is_served)


RESOURCES: Final = tuple(Served(type_, _interactions(type_)) for type_ in _SERVED)
SYSTEM: Final = (TRANSACTION, BATCH, HISTORY_SYSTEM)
