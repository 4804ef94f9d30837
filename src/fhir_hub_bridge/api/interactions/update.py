"""update: store the next version of a resource. https://hl7.org/fhir/R4/http.html#update"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from fhir_hub_bridge.api.answers import written_answer
from fhir_hub_bridge.api.bodies import read_resource
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.preconditions import if_match, wanted_return
from fhir_hub_bridge.intake.receive_fhir import Asked, receive


async def update(call: Call) -> Response:
    """200 with the new version; 412 when If-Match names one that is not the current.

    Addressed by a search instead of an id: 201 where nothing matches, 412 where several do.
    """
    has_id = "id" in call.request.path_params
    query = "" if has_id else call.request.url.query
    if not has_id and not query:
        raise HTTPException(400, "Name what to update: by its id, or by a search.")
    asked = Asked(
        method="PUT",
        body=await read_resource(call.request),
        type=call.type,
        id=call.id if has_id else "",
        query=query,
        if_match=if_match(call.request),
        idempotency_key=call.request.headers.get("idempotency-key", ""),
        caller=call.caller,
        base=call.base,
    )
    written = await receive(asked, store=call.bridge.store, recording=call.bridge.recording())
    return written_answer(written, wanted_return(call.request))
