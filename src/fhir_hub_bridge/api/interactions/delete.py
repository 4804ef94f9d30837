"""delete: a resource that no referral rests on. https://hl7.org/fhir/R4/http.html#delete"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import written_answer
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.preconditions import if_match
from fhir_hub_bridge.intake.receive_fhir import Asked, receive


async def delete(call: Call) -> Response:
    """204, also where there is nothing to delete; its versions stay readable."""
    asked = Asked(
        method="DELETE",
        type=call.type,
        id=call.id,
        if_match=if_match(call.request),
        caller=call.caller,
    )
    written = await receive(asked, store=call.bridge.store, recording=call.bridge.recording())
    return written_answer(written, "minimal")
