"""A client's deletion: of what it sent itself, and only where no referral names it.

Before: `receive_fhir`. After: the store, where every version stays and the last says that it is
gone. https://hl7.org/fhir/R4/http.html#delete
"""

from __future__ import annotations

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.intake.fhir_work import FhirWork, check_version, check_writer
from fhir_hub_bridge.store.resources import bury
from fhir_hub_bridge.store.search_index import is_named


def delete_resource(work: FhirWork, entry: Entry) -> None:
    """Delete what this entry names; what is not there, or no more, needs no deletion.

    Raises VersionConflict, and RuleBroken (`wrong-party`, `part-of-referral`).
    """
    reference = f"{entry.type}/{entry.id}"
    stored = work.held(entry.type, str(entry.id))
    if stored is None:
        return
    check_version(entry, stored.version)
    if stored.referral_id or is_named(work.conn, reference):
        message = f"This {entry.type} is part of a referral, which is kept as evidence."
        raise RuleBroken("part-of-referral", message, place=entry.type)
    check_writer(work, stored)
    work.versions[reference] = bury(work.conn, stored, at=work.recording.now)
    work.forget(reference)
