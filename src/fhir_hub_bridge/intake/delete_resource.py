"""A client's deletion: of what it sent itself, and only where no referral rests on it.

Before: `receive_fhir`. After: the store, where every version stays and the last says that it is
gone. https://hl7.org/fhir/R4/http.html#delete
"""

from __future__ import annotations

from typing import Final

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import references_in
from fhir_hub_bridge.fhir.search import parse_query
from fhir_hub_bridge.intake.fhir_work import FhirWork, check_version, check_writer
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.store.referrals import load
from fhir_hub_bridge.store.resource_search import search
from fhir_hub_bridge.store.resources import Stored, bury, read_many

_MOST_TASKS: Final = 200
_PERSON: Final = ("subject", "for", "patient", "beneficiary")


def delete_resource(work: FhirWork, entry: Entry) -> None:
    """Delete what this entry names; what is not there, or no more, needs no deletion.

    Raises VersionConflict, and RuleBroken (`wrong-party`, `part-of-referral`).
    """
    reference = f"{entry.type}/{entry.id}"
    stored = work.held(entry.type, str(entry.id))
    if stored is None:
        return
    check_version(entry, stored.version)
    if _rests_a_referral_on(work, stored):
        message = f"This {entry.type} is part of a referral, which is kept as evidence."
        raise RuleBroken("part-of-referral", message, place=entry.type)
    check_writer(work, stored)
    work.versions[reference] = bury(work.conn, stored, at=work.recording.now)
    work.forget(reference)


def _rests_a_referral_on(work: FhirWork, stored: Stored) -> bool:
    """Whether it belongs to a referral, or came before one of the same person that names it."""
    if stored.referral_id:
        return True
    person = _person(work, stored)
    if not person:
        return False
    query = parse_query("Task", [("patient", person)], bases=[work.recording.base_url])
    tasks = search(work.conn, query, limit=_MOST_TASKS).matches
    referrals = {task.referral_id for task in tasks if task.referral_id}
    if stored.reference == person:
        return bool(referrals)
    for referral_id in referrals:
        own = resource_ids(load(work.conn, referral_id)).references()
        bodies = read_many(work.conn, [_key(reference) for reference in own])
        named = {text for body in bodies.values() for text in references_in(body.parsed())}
        if stored.reference in own or stored.reference in named:
            return True
    return False


def _person(work: FhirWork, stored: Stored) -> str:
    """The Patient that it is, or is about, as `Patient/id`; "" for none of ours."""
    if stored.type == "Patient":
        return stored.reference
    body: Json = stored.parsed()
    for element in _PERSON:
        about = body.get(element)
        here = work.local(str(about.get("reference", ""))) if isinstance(about, dict) else None
        if here is not None and here.type == "Patient":
            return f"Patient/{here.id}"
    return ""


def _key(reference: str) -> tuple[str, str]:
    type_, _, id_ = reference.partition("/")
    return type_, id_
