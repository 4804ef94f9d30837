"""Requests kept byte for byte where what is stored is not what was sent (docs/decisions/0011)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from fhir_hub_bridge.store.buckets import bucket_of_key
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import received_body


def batch_of_body(body: bytes, *, digest: str, at: datetime) -> Batch:
    """The row that keeps a request's body; `digest` is its SHA-256. The same body is kept once."""
    row = {
        "bucket": bucket_of_key(digest),
        "digest": digest,
        "received_at": to_micros(at),
        "body": body,
    }
    return Batch(received_body, [row], replace=("bucket", "digest"))


def body_received(conn: Connection, digest: str) -> bytes | None:
    """The request's body with this SHA-256, as the evidence of an event names it; else None."""
    found = select(received_body.c.body).where(
        received_body.c.bucket == bucket_of_key(digest), received_body.c.digest == digest
    )
    body = conn.execute(found).scalar_one_or_none()
    return None if body is None else bytes(body)
