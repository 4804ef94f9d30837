"""What a provider did to its Task on its own server, recorded as if it had put it here.

Steps between two looks were missed; the shortest legal path stands for them. Before: `relay`
looked. After: `task_changed`, the path of a provider's own update.
"""

from __future__ import annotations

from dataclasses import replace

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json, to_bytes
from fhir_hub_bridge.fhir.task_states import TERMINAL
from fhir_hub_bridge.fhir.validation import issues_of
from fhir_hub_bridge.intake.fhir_request import Asked
from fhir_hub_bridge.intake.fhir_work import FhirWork
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.intake.task_changed import change_task
from fhir_hub_bridge.mapping.task_from_partner import as_updates
from fhir_hub_bridge.referral.parties import registered
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.referrals import load
from fhir_hub_bridge.store.remote_copies import RemoteCopy, took
from fhir_hub_bridge.store.resources import read, unstamped
from fhir_hub_bridge.store.unit import Connection


def take_child(conn: Connection, child: RemoteCopy, says: Json, *, recording: Recording) -> bool:
    """The unit: record what is new in `says` since it was last seen; whether anything was.

    Raises Rejected or Conflict where the rules do not take it; then nothing has changed.
    """
    partners = all_partners(conn)
    partner = registered(child.partner, partners)
    load(conn, child.referral_id, lock=True)  # as it is now stays as it is
    stored = read(conn, "Task", child.id)
    before = unstamped(stored.parsed())
    if issues := issues_of({**before, **says}):
        raise ResourceRejected(issues=issues)
    bodies: list[Json] = []
    if partner is not None and before["status"] not in TERMINAL:
        bodies = as_updates(before, says, seen=child.seen, rulebook=recording.rulebook)
    for number, body in enumerate(bodies):
        assert partner is not None  # noqa: S101  # there are bodies
        asked = Asked("GET", to_bytes(says), type="Task", id=child.id, caller=partner.id)
        again = replace(recording, seed=recording.seed + bytes([number]))
        work = FhirWork(conn, asked, again, partners, partner.party)
        entry = Entry(index=0, full_url=None, method="PUT", type="Task", id=child.id, resource=body)
        change_task(work, entry, body, stored, only=False, steps_missed=True)
        work.writes.flush(conn)
    took(conn, child, seen=says)
    return bool(bodies)
