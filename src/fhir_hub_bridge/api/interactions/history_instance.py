"""history-instance: all versions of a resource. https://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.history_pages import history_answer, wanted_page
from fhir_hub_bridge.store.resource_history import history_of_one


async def history_instance(call: Call) -> Response:
    """200 with a history Bundle, newest version first. Raises Unknown."""
    wanted = wanted_page(call)
    versions = await call.bridge.store.read_snapshot(
        history_of_one,
        call.type,
        call.id,
        limit=wanted.limit,
        since=wanted.since,
        before=wanted.before,
    )
    return history_answer(call, versions, path=f"/{call.type}/{call.id}/_history")
