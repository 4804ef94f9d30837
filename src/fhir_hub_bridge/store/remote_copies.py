"""What is here and on a partner's server: originals copied here, children sent there.

Each row says what was last taken from there, and when that was looked at. Before: `intake`
inserts them with the referral's rows. After: `intake.relay` looks, several processes at once if
need be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, and_, or_, select, update

from fhir_hub_bridge.fhir.codec import Json, to_bytes
from fhir_hub_bridge.fhir.task_states import TERMINAL
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import from_micros, to_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import referral, remote_copy, resource

Kind = Literal["original", "child"]


@dataclass(frozen=True, slots=True)
class RemoteCopy:
    """A resource of ours and where else it is; `seen` is what was last taken from there."""

    type: str
    id: str
    referral_id: str
    partner: str
    kind: Kind
    url: str
    seen: Json
    refused: str = ""
    trouble: str = ""

    @property
    def reference(self) -> str:
        """`Type/id` here."""
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a partner's server says of a resource and was not taken, by which rule; last seen when.

    A person must look: nobody can be asked to say it otherwise.
    """

    at: datetime
    partner: str
    reference: str
    rule: str


def remote_rows(copies: Sequence[RemoteCopy], *, at: datetime) -> Batch:
    """The rows of new ones, in the bucket of their referral; `at` counts as the first look."""
    return Batch(
        remote_copy,
        [
            {
                "bucket": bucket_of(copy.type, copy.id),
                "type": copy.type,
                "id": copy.id,
                "referral_id": copy.referral_id,
                "partner": copy.partner,
                "kind": copy.kind,
                "url": copy.url,
                "seen": to_bytes(copy.seen).decode(),
                "refused": copy.refused,
                "trouble": copy.trouble,
                "checked_at": to_micros(at),
            }
            for copy in copies
        ],
    )


def is_child(conn: Connection, task_id: str) -> bool:
    """Whether this Task was sent to its provider, or is in the outbox for it."""
    return conn.execute(select(remote_copy.c.id).where(_is("Task", task_id))).first() is not None


def claim(
    conn: Connection,
    *,
    kind: Kind,
    partner: str,
    looked_before: datetime,
    now: datetime,
    limit: int,
) -> list[RemoteCopy]:
    """Take up to `limit` of this partner's that were last looked at before then, oldest first.

    They count as looked at from now on, so that no other process looks, too. Those whose referral,
    or whose Task, has ended are laid aside for good on the way. None are left when none are given.
    """
    c = remote_copy.c
    over = or_(
        referral.c.closed.is_(True),
        and_(c.kind == "child", resource.c.status.in_(sorted(TERMINAL))),
    )
    query = (
        select(*_COLUMNS, c.bucket, over.label("over"))
        .join(referral, and_(referral.c.bucket == c.bucket, referral.c.id == c.referral_id))
        .join(
            resource,
            and_(resource.c.bucket == c.bucket, resource.c.type == c.type, resource.c.id == c.id),
        )
        .where(
            c.kind == kind,
            c.checked_at < to_micros(looked_before),
            c.partner == partner,
        )
        .order_by(c.checked_at, c.bucket, c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=remote_copy)
    )
    while rows := conn.execute(query).mappings().all():
        for has_ended, values in (
            (True, {"kind": "ended"}),
            (False, {"checked_at": to_micros(now)}),
        ):
            keys = [(r["bucket"], r["type"], r["id"]) for r in rows if bool(r["over"]) is has_ended]
            if keys:
                these = among([c.bucket, c.type, c.id], keys)
                conn.execute(update(remote_copy).where(these).values(values))
        if going_on := [_copy(row) for row in rows if not row["over"]]:
            return going_on
    return []


def originals_of(conn: Connection, referral_id: str) -> list[RemoteCopy]:
    """What a referral copied from its sender's server."""
    query = select(*_COLUMNS).where(
        remote_copy.c.bucket == bucket_of("Referral", referral_id),
        remote_copy.c.referral_id == referral_id,
        remote_copy.c.kind == "original",
    )
    return [_copy(row) for row in conn.execute(query).mappings()]


def troubles_of(conn: Connection, referral_id: str) -> list[Trouble]:
    """What partners' servers say of this referral and was not taken."""
    c = remote_copy.c
    query = (
        select(c.checked_at, c.partner, c.type, c.id, c.trouble)
        .where(
            c.bucket == bucket_of("Referral", referral_id),
            c.referral_id == referral_id,
            c.trouble != "",
        )
        .order_by(c.checked_at, c.type, c.id)
    )
    return [
        Trouble(from_micros(at), partner, f"{type_}/{id_}", rule)
        for at, partner, type_, id_, rule in conn.execute(query)
    ]


def took(conn: Connection, copy: RemoteCopy, *, seen: Json) -> None:
    """What was seen there is what stands here."""
    values = {"seen": to_bytes(seen).decode(), "refused": "", "trouble": ""}
    conn.execute(update(remote_copy).where(_is(copy.type, copy.id)).values(values))


def refuse(conn: Connection, copy: RemoteCopy, *, refused: str, trouble: str) -> None:
    """What was seen there (its SHA-256) was not taken by this rule; seen again it is left alone."""
    values = {"refused": refused, "trouble": trouble}
    conn.execute(update(remote_copy).where(_is(copy.type, copy.id)).values(values))


_COLUMNS = tuple(remote_copy.c[name] for name in RemoteCopy.__dataclass_fields__)


def _is(type_: str, id_: str) -> Any:
    c = remote_copy.c
    return and_(c.bucket == bucket_of(type_, id_), c.type == type_, c.id == id_)


def _copy(row: Any) -> RemoteCopy:
    values = {name: row[name] for name in RemoteCopy.__dataclass_fields__}
    return RemoteCopy(**{**values, "seen": orjson.loads(row["seen"])})
