"""vread: one version of a resource. https://hl7.org/fhir/R4/http.html#vread"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import stored_answer
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.store import resources


async def vread(call: Call) -> Response:
    """200 with the version as it was stored. Raises Unknown."""
    return stored_answer(
        await call.bridge.store.read(resources.read_version, call.type, call.id, call.version)
    )
