"""A patient's compartment as it is served: what R4 says, and Tasks.

R4 leaves Task out of it, R5 does not; what is to be done for a patient is asked for here first.
https://hl7.org/fhir/R4/compartmentdefinition-patient.html
"""

from __future__ import annotations

from typing import Final

from fhir_hub_bridge.fhir.search import PARAMETERS, Filter, compartment_query

PATIENT: Final = "http://hl7.org/fhir/CompartmentDefinition/patient"

_OF_TASK: Final = ("patient", "focus")  # https://hl7.org/fhir/R5/compartmentdefinition-patient.html


def in_compartment(patient_id: str, type_: str) -> tuple[Filter, ...]:
    """Filters of which a resource of this type must match one; nothing for types outside."""
    if type_ != "Task":
        return compartment_query(patient_id, type_)
    patient = f"Patient/{patient_id}"
    known = PARAMETERS[type_]
    return tuple(
        Filter(name, "reference", (patient,), column=known[name].column) for name in _OF_TASK
    )
