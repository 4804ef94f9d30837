"""What is here and on a partner's server: originals copied here, children sent there.

Each row says what was last seen there. Before: `intake` inserts them with the referral's rows.
After: `intake.relay` looks.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import remote_copy


def new_child(bucket: int, task_id: str, *, referral_id: str, partner: str) -> Batch:
    """The row of a provider's Task that is sent to its server or folder."""
    row = _new(bucket, "Task", task_id, referral_id=referral_id, partner=partner, kind="child")
    return Batch(remote_copy, [row])


def is_child(conn: Connection, task_id: str) -> bool:
    """Whether this Task was sent to its provider, or is in the outbox for it."""
    query = select(remote_copy.c.id).where(
        remote_copy.c.bucket == bucket_of("Task", task_id),
        remote_copy.c.type == "Task",
        remote_copy.c.id == task_id,
    )
    return conn.execute(query).first() is not None


def _new(
    bucket: int, type_: str, id_: str, *, referral_id: str, partner: str, kind: str, url: str = ""
) -> dict[str, object]:
    return {
        "bucket": bucket,
        "type": type_,
        "id": id_,
        "referral_id": referral_id,
        "partner": partner,
        "kind": kind,
        "url": url,
        "seen": "",
        "trouble": "",
        "checked_at": 0,
    }
