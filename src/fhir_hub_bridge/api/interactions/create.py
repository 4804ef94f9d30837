"""create: store a new resource. https://hl7.org/fhir/R4/http.html#create"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import written_answer
from fhir_hub_bridge.api.bodies import read_resource
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.preconditions import wanted_return
from fhir_hub_bridge.intake.receive_fhir import Asked, receive


async def create(call: Call) -> Response:
    """201 with Location and version; the first answer again for a request that was answered.

    With If-None-Exist 200 and the one resource that matches, 412 where several do.
    """
    headers = call.request.headers
    asked = Asked(
        method="POST",
        body=await read_resource(call.request),
        type=call.type,
        if_none_exist=headers.get("if-none-exist", "").removeprefix("?"),
        idempotency_key=headers.get("idempotency-key", ""),
        caller=call.caller,
        base=call.base,
    )
    bridge = call.bridge
    written = await receive(
        asked, store=bridge.store, recording=bridge.recording(), reader=bridge.reader
    )
    return written_answer(written, wanted_return(call.request))
