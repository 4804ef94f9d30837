"""history-instance: all versions of a resource. https://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.fhir.bundle import HistoryVersion, history_bundle
from fhir_hub_bridge.store import resources
from fhir_hub_bridge.store.resources import Stored


async def history_instance(call: Call) -> Response:
    """200 with a history Bundle, newest version first. Raises Unknown."""
    versions = await call.bridge.store.read(resources.history, call.type, call.id)
    bundle = history_bundle(
        map(_version, versions),
        base=call.base,
        total=len(versions),
        self_url=f"{call.base}/{call.type}/{call.id}/_history",
    )
    return answer(bundle)


def _version(stored: Stored) -> HistoryVersion:
    status = "201 Created" if stored.version == 1 else "200 OK"
    return HistoryVersion(stored.parsed(), method=stored.method, status=status)
