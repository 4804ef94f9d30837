"""batch: several requests, each on its own. https://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.bundle_entries import Budget, ask, ask_read, in_order, is_read
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.fhir.codec import Json


async def batch(call: Call, bundle: Json) -> Response:
    """200 with a batch-response Bundle; each entry says what became of it.

    References between its entries mean nothing. Resources written come back where `Prefer` asks.
    """
    entries: dict[int, Json] = {}
    budget = Budget()
    for number, row in in_order(bundle):
        if is_read(row):
            told = await ask_read(call, row, budget)
        else:
            told = await ask(call, row, prefer="return=minimal")
        entries[number] = told.entry()
    response: Json = {"resourceType": "Bundle", "type": "batch-response"}
    if entries:
        response["entry"] = [entries[number] for number in sorted(entries)]
    return answer(response)
