"""search-type: the resources of a type that match. https://hl7.org/fhir/R4/http.html#search"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.searching import answer_search


async def search_type(call: Call) -> Response:
    """200 with a searchset Bundle: one page, and a link to the next."""
    return await answer_search(call, path=call.type)
