"""transaction: several writes, all or none. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import written_answer
from fhir_hub_bridge.api.bodies import read_resource
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.intake.receive_fhir import Asked, receive


async def transaction(call: Call) -> Response:
    """200 with a transaction-response Bundle, entry by entry in the order they came."""
    asked = Asked(
        method="POST",
        body=await read_resource(call.request),
        idempotency_key=call.request.headers.get("idempotency-key", ""),
        caller=call.caller,
    )
    bridge = call.bridge
    written = await receive(
        asked, store=bridge.store, recording=bridge.recording(), reader=bridge.reader
    )
    return written_answer(written, "representation")
