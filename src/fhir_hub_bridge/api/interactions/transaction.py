"""transaction: several writes, all or none, and reads. https://hl7.org/fhir/R4/http.html#transaction

A batch comes by the same address. Beside: `batch`, whose way reads here take too.
"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import STORED, answer, written_answer
from fhir_hub_bridge.api.bodies import read_resource
from fhir_hub_bridge.api.bundle_entries import (
    Budget,
    Told,
    ask,
    ask_read,
    in_order,
    is_read,
    refusal_of,
)
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.interactions.batch import batch
from fhir_hub_bridge.api.preconditions import Return, asked_return
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.outcome import operation_outcome
from fhir_hub_bridge.intake.receive_fhir import Asked, receive


async def transaction(call: Call) -> Response:
    """200 with a transaction-response Bundle, entry by entry in the order they came.

    A read that fails fails all: each is tried before anything is written, and answered after.
    """
    body = await read_resource(call.request)
    bundle = parse_json(body)
    if bundle.get("type") == "batch":
        return await batch(call, bundle)
    reads = [(number, row) for number, row in in_order(bundle) if is_read(row)]
    tried: dict[int, Told] = {}
    budget = Budget()
    for number, row in reads:
        tried[number] = await ask_read(call, row, budget)
        if (refused := refusal_of(tried[number])) is not None:
            return refused
    changes_nothing = len(reads) == len(bundle.get("entry", []))
    asked = Asked(
        method="POST",
        body=body,
        idempotency_key=call.request.headers.get("idempotency-key", ""),
        caller=call.caller,
        base=call.base,
    )
    bridge = call.bridge
    written = await receive(
        asked, store=bridge.store, recording=bridge.recording(), reader=bridge.reader
    )
    wanted = asked_return(call.request)
    if not reads and wanted in (None, "minimal"):
        return written_answer(written, "representation")
    response = parse_json(written.body)
    for number, row in reads:
        told = tried[number] if changes_nothing else await ask(call, row)
        response["entry"][number] = told.entry()
    for entry in response.get("entry", []):
        await _complete(call, entry, wanted)
    return answer(response)


async def _complete(call: Call, entry: Json, wanted: Return | None) -> None:
    """The entry of a write with as much answer as `Prefer` asked for."""
    location = entry["response"].get("location")
    if location is None or "resource" in entry:
        return
    if wanted == "representation":
        found = await ask(call, {"request": {"method": "GET", "url": location}})
        entry |= {"resource": found.resource} if found.resource else {}
    elif wanted == "OperationOutcome":
        entry["response"]["outcome"] = operation_outcome([STORED], severity="information")
