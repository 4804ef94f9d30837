"""update: store the next version of a resource. https://hl7.org/fhir/R4/http.html#update"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import written_answer
from fhir_hub_bridge.api.bodies import read_resource
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.preconditions import if_match, wanted_return
from fhir_hub_bridge.intake.receive_fhir import Asked, receive


async def update(call: Call) -> Response:
    """200 with the new version; 412 when If-Match names one that is not the current."""
    asked = Asked(
        method="PUT",
        body=await read_resource(call.request),
        type=call.type,
        id=call.id,
        if_match=if_match(call.request),
        idempotency_key=call.request.headers.get("idempotency-key", ""),
        caller=call.caller,
    )
    written = await receive(asked, store=call.bridge.store, recording=call.bridge.recording())
    return written_answer(written, wanted_return(call.request))
