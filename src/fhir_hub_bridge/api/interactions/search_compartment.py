"""search-type in a patient's compartment: the resources of a type that are about one patient.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html
"""

from __future__ import annotations

from starlette.responses import Response

from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.compartment import in_compartment
from fhir_hub_bridge.api.searching import answer_search
from fhir_hub_bridge.store.resources import read


async def search_compartment(call: Call) -> Response:
    """200 as for the whole type; 404 when there is no such patient."""
    patient = Call(call.request, call.bridge, "Patient", call.base, call.caller).id
    await call.bridge.store.read(read, "Patient", patient)  # or say that there is none
    within = in_compartment(patient, call.type)
    return await answer_search(call, path=f"Patient/{patient}/{call.type}", within=within)
