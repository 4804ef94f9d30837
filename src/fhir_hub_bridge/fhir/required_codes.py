"""The required bindings of FHIR R4 4.0.1 on first-level codes, for the types that we take.

The R4B classes check no codes. After: `validation`. https://hl7.org/fhir/R4/terminologies.html
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_REQUEST_STATUSES: Final = _codes("draft active on-hold revoked completed entered-in-error unknown")
_PRIORITIES: Final = _codes("routine urgent asap stat")
_FINANCIAL_STATUSES: Final = _codes("active cancelled draft entered-in-error")
_GENDERS: Final = _codes("male female other unknown")
_INTENTS: Final = _codes(
    "proposal plan order original-order reflex-order filler-order instance-order option"
)

# type -> element -> codes
CODES: Final[Mapping[str, Mapping[str, frozenset[str]]]] = MappingProxyType(
    {
        "Task": {
            "status": _codes(
                "draft requested received accepted rejected ready cancelled in-progress on-hold"
                " failed completed entered-in-error"
            ),
            "intent": _INTENTS | {"unknown"},
            "priority": _PRIORITIES,
        },
        "ServiceRequest": {
            "status": _REQUEST_STATUSES,
            "intent": _INTENTS | {"directive"},
            "priority": _PRIORITIES,
        },
        "ClaimResponse": {
            "status": _FINANCIAL_STATUSES,
            "use": _codes("claim preauthorization predetermination"),
            "outcome": _codes("queued complete error partial"),
        },
        "Coverage": {"status": _FINANCIAL_STATUSES},
        "Communication": {
            "status": _codes(
                "preparation in-progress not-done on-hold stopped completed entered-in-error"
                " unknown"
            ),
            "priority": _PRIORITIES,
        },
        "CommunicationRequest": {"status": _REQUEST_STATUSES, "priority": _PRIORITIES},
        "Consent": {"status": _codes("draft proposed active rejected inactive entered-in-error")},
        "Bundle": {
            "type": _codes(
                "document message transaction transaction-response batch batch-response history"
                " searchset collection"
            )
        },
        "Patient": {"gender": _GENDERS},
        "Practitioner": {"gender": _GENDERS},
        "RelatedPerson": {"gender": _GENDERS},
    }
)
