"""batch: several requests, each on its own. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.bundle_entries import ask, in_order
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.fhir.codec import Json


async def batch(call: Call, bundle: Json) -> Response:
    """200 with a batch-response Bundle; each entry says what became of it.

    References between its entries mean nothing. Resources written come back where `Prefer` asks.
    """
    entries: dict[int, Json] = {}
    for number, row in in_order(bundle):
        entries[number] = (await ask(call, row, prefer="return=minimal")).entry()
    response: Json = {"resourceType": "Bundle", "type": "batch-response"}
    if entries:
        response["entry"] = [entries[number] for number in sorted(entries)]
    return answer(response)
