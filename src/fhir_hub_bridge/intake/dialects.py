"""Older dialects of clients, taken on input: stored in today's words, the request kept as it came.

Before: `receive_fhir`. After: `mapping.task_dialects`; docs/decisions/0011.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.intake.fhir_work import FhirWork
from fhir_hub_bridge.mapping.task_dialects import in_todays_words
from fhir_hub_bridge.store.received_bodies import batch_of_body


def in_todays_words_where_tracked(
    work: FhirWork, entries: Sequence[Entry], *, opening_at: Collection[int]
) -> list[Entry]:
    """The entries with Tasks of referrals in today's words; any other resource stays as sent.

    Where that changes one, the whole body of the request is kept under its digest, which the
    evidence of each event names.
    """
    today = [
        replace(entry, resource=in_todays_words(entry.resource))
        if entry.resource is not None and (entry.index in opening_at or _is_tracked(work, entry))
        else entry
        for entry in entries
    ]
    if any(new.resource != old.resource for new, old in zip(today, entries, strict=True)):
        body, digest = work.asked.sent, work.asked.digest
        work.writes.add([batch_of_body(body, digest=digest, at=work.recording.now)])
    return today


def _is_tracked(work: FhirWork, entry: Entry) -> bool:
    if entry.type != "Task" or entry.method != "PUT":
        return False
    stored = work.stored(f"Task/{entry.id}")
    return stored is not None and bool(stored.referral_id)
