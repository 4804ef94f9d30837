"""A copied original as it now stands on its sender's server, recorded as its sender's own update.

Before: `relay` looked. After: `receive_fhir`, which takes it for an amendment, or for the referral
taken back.
"""

from __future__ import annotations

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json, to_bytes
from fhir_hub_bridge.fhir.reference import rewrite_references
from fhir_hub_bridge.fhir.validation import issues_of
from fhir_hub_bridge.intake.fhir_request import Asked
from fhir_hub_bridge.intake.receive_fhir import receive_unit
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.store.referrals import load
from fhir_hub_bridge.store.remote_copies import RemoteCopy, originals_of, took
from fhir_hub_bridge.store.resources import read
from fhir_hub_bridge.store.unit import Connection


def take_original(conn: Connection, copy: RemoteCopy, says: Json, *, recording: Recording) -> bool:
    """The unit: our copy becomes what the original says; always true, as that is new.

    References to other originals become those to their copies. Raises Rejected or Conflict where
    the rules do not take it; then nothing has changed.
    """
    load(conn, copy.referral_id, lock=True)
    stored = read(conn, copy.type, copy.id)
    names = {other.url: other.reference for other in originals_of(conn, copy.referral_id)}
    body = {**rewrite_references(says, names), "id": copy.id}
    if issues := issues_of(body):
        raise ResourceRejected(issues=issues)
    asked = Asked("PUT", to_bytes(body), type=copy.type, id=copy.id, caller=stored.source)
    entry = Entry(index=0, full_url=None, method="PUT", type=copy.type, id=copy.id, resource=body)
    receive_unit(conn, asked, [entry], recording)
    took(conn, copy, seen=says)
    return True
