"""Whether an update leaves an element as it is: in what it names, not letter by letter.

Clients write a resource anew, with other displays, or with the address at which they know it.
Before: `task_change` and `intake` say which elements are fixed.
https://hl7.org/fhir/R4/references.html#literal
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_hub_bridge.fhir.codec import Json


def names_the_same(stored: Any, sent: Any, *, resource: Callable[[str], Json | None]) -> bool:
    """Whether two values of an element name the same resource, codes or identifiers.

    `resource` finds a stored resource by a reference: a copy is named by its source, too.
    """
    match stored, sent:
        case list(), list():
            pairs = zip(stored, sent, strict=False)
            return len(stored) == len(sent) and all(
                names_the_same(one, other, resource=resource) for one, other in pairs
            )
        case {"reference": str(here)}, {"reference": str(there)}:
            return here == there or there == _source(resource(here))
        case {"coding": list(codings)}, {"coding": list(others)}:
            return _codes(codings) == _codes(others)
    return bool(stored == sent)


def _source(copy: Json | None) -> str | None:
    return None if copy is None else copy.get("meta", {}).get("source")


def _codes(codings: list[Json]) -> set[tuple[Any, Any]]:
    return {(coding.get("system"), coding.get("code")) for coding in codings}
