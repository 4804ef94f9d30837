"""The CapabilityStatement, told from the table that the routes are made of; so it cannot flatter.

https://hl7.org/fhir/R4/capabilitystatement.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fhir_hub_bridge.api.compartment import PATIENT
from fhir_hub_bridge.api.media_types import JSON_PATCH
from fhir_hub_bridge.api.registry import VREAD, Interaction, Served
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.search import PARAMETERS

_SECURITY: Final = (
    "Open mode: there is no login. The server answers on this machine only; whoever can reach it"
    " acts as the operator, or as the registered partner that the header X-Partner names."
)
_DOCUMENTATION: Final = (
    "Referrals that are followed until their loop is closed. A change of a tracked Task that the"
    " rules do not allow is answered 422, a stale If-Match 412. Task is also created and updated"
    " inside transactions, together with what it refers to. Ids are given by the server; what a"
    " referral rests on is not deleted."
)


def capability_statement(
    resources: Sequence[Served], system: Sequence[Interaction], *, base: str, version: str
) -> Json:
    """The statement of an instance at the address `base` running software `version`.

    `version` is YYYY.MM.patch; its month is the statement's date.
    """
    year, month, *_ = version.split(".")
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": f"{year}-{int(month):02}",
        "kind": "instance",
        "software": {"name": "FHIR Hub Bridge", "version": version},
        "implementation": {"description": "FHIR Hub Bridge", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json", "application/fhir+xml", "xml"],
        "patchFormat": [JSON_PATCH],
        "rest": [
            {
                "mode": "server",
                "documentation": _DOCUMENTATION,
                "security": {"cors": False, "description": _SECURITY},
                "resource": [_resource(served) for served in resources],
                "interaction": [{"code": interaction.code} for interaction in system],
                "compartment": [PATIENT],
            }
        ],
    }


def _resource(served: Served) -> Json:
    entry: Json = {
        "type": served.type,
        "interaction": [{"code": code} for code in served.codes],
        "versioning": "versioned",
        "readHistory": VREAD in served.interactions,
        "updateCreate": False,
        "conditionalCreate": served.takes_conditions,
        "conditionalRead": "full-support",
        "conditionalUpdate": served.takes_conditions,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "logical"],
    }
    if served.search_parameters:
        entry["searchInclude"] = ["*", *_references(served.type)]
        entry["searchRevInclude"] = [
            name for other in PARAMETERS for name in _references(other, to=served.type)
        ]
        entry["searchParam"] = [
            {"name": found.name, "definition": found.definition, "type": found.kind}
            for found in served.search_parameters
        ]
    entry["operation"] = [
        {"name": operation.name, "definition": operation.definition}
        for operation in served.operations
    ]
    return {name: value for name, value in entry.items() if value != []}


def _references(type_: str, *, to: str = "") -> list[str]:
    """`Type:parameter` of the references of a type, to any resource or to one of type `to`."""
    return [
        f"{type_}:{found.name}"
        for found in PARAMETERS[type_].values()
        if found.kind == "reference" and not found.is_canonical and (not to or to in found.targets)
    ]
