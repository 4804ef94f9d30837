"""history-type: what happened to resources of a type. https://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.history_pages import history_answer, wanted_page
from fhir_hub_bridge.store.resource_history import history_of_types


async def history_type(call: Call) -> Response:
    """200 with a history Bundle, newest version first, without a total."""
    wanted = wanted_page(call)
    versions = await call.bridge.store.read(
        history_of_types,
        [call.type],
        limit=wanted.limit,
        since=wanted.since,
        before=wanted.before,
    )
    return history_answer(call, versions, path=f"/{call.type}/_history")
