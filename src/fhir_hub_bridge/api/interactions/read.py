"""read: the current version of a resource. https://hl7.org/fhir/R4/http.html#read"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import not_modified, stored_answer
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.preconditions import is_known
from fhir_hub_bridge.store import resources


async def read(call: Call) -> Response:
    """200 with the resource, 304 when the caller has this version. Raises Unknown."""
    stored = await call.bridge.store.read(resources.read, call.type, call.id)
    known = is_known(call.request, stored.version, at=stored.last_updated)
    return not_modified(stored) if known else stored_answer(stored)
