"""patch: change parts of a resource by JSON Patch. https://hl7.org/fhir/R4/http.html#patch"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import written_answer
from fhir_hub_bridge.api.bodies import read_patch
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.preconditions import if_match, wanted_return
from fhir_hub_bridge.intake.patch_resource import patch_resource
from fhir_hub_bridge.intake.receive_fhir import Asked


async def patch(call: Call) -> Response:
    """200 with the new version, which is judged and recorded as an update's is."""
    asked = Asked(
        method="PATCH",
        body=await read_patch(call.request),
        type=call.type,
        id=call.id,
        if_match=if_match(call.request),
        idempotency_key=call.request.headers.get("idempotency-key", ""),
        caller=call.caller,
        base=call.base,
    )
    store, recording = call.bridge.store, call.bridge.recording()
    written = await patch_resource(asked, store=store, recording=recording)
    return written_answer(written, wanted_return(call.request))
