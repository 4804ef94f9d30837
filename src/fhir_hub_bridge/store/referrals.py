"""Referrals as stored: where each stands, and the append-only events it is rebuilt from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping, select

from fhir_hub_bridge.errors import Unknown
from fhir_hub_bridge.referral.model import Event, Party, Referral
from fhir_hub_bridge.referral.notices import NotOwed
from fhir_hub_bridge.store.buckets import bucket_of, bucket_of_key
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import member, referral, referral_event, resource

_REFERRAL: TypeAdapter[Referral] = TypeAdapter(Referral)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class StoredReferral:
    """A referral as it stands, the ids of its resources (JSON), and how far its counters are."""

    bucket: int
    referral: Referral
    resources: str
    events: int
    notices: int
    held: str = ""


def party_key(party: Party) -> str:
    """A party as one searchable text: its partner id, else its number, else its name."""
    if party.partner:
        return party.partner
    for prefix, value in (("npi", party.npi), ("tin", party.tin), ("name", party.name)):
        if value:
            return f"{prefix}:{value}"
    return ""


def bucket_for(cin: str, *, otherwise: str) -> int:
    """The member's bucket where she is known, else one hashed from any other text."""
    return bucket_of_key(cin or otherwise)


def has_open(conn: Connection, cin: str, service: str) -> bool:
    """Whether this member has an open referral to this service; an unknown member has none."""
    if not cin:
        return False
    query = select(referral.c.id).where(
        referral.c.bucket == bucket_of_key(cin),
        referral.c.cin == cin,
        referral.c.service == service,
        referral.c.closed.is_(False),
    )
    return conn.execute(query.limit(1)).first() is not None


def find_of_members(conn: Connection, members: Sequence[tuple[str, str]]) -> list[StoredReferral]:
    """Every referral of these (CIN, service) pairs, closed ones too; locked in one order."""
    if not members:
        return []
    keys = sorted({(bucket_of_key(cin), cin, service) for cin, service in members})
    query = (
        select(referral)
        .where(among([referral.c.bucket, referral.c.cin, referral.c.service], keys))
        .order_by(referral.c.bucket, referral.c.id)
    )
    return [_stored(row) for row in conn.execute(query.with_for_update()).mappings()]


def hold_members(conn: Connection, cins: Collection[str], *, now: datetime) -> None:
    """Keep others from opening referrals of these members until the transaction ends.

    Held in one order; two files that speak of the same people then do not open a referral twice.
    """
    keys = sorted((bucket_of_key(cin), cin) for cin in set(cins))
    rows = [{"bucket": bucket, "cin": cin, "seen_at": to_micros(now)} for bucket, cin in keys]
    insert_all(conn, [Batch(member, rows, replace=("bucket", "cin"))])


def load(conn: Connection, referral_id: str, *, lock: bool = False) -> StoredReferral:
    """One referral by its id. Raises Unknown."""
    query = select(referral).where(
        referral.c.bucket == bucket_of("Referral", referral_id), referral.c.id == referral_id
    )
    row = conn.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise Unknown("There is no referral with this id.")
    return _stored(row)


def referral_of_resource(conn: Connection, type_: str, id_: str) -> str:
    """The id of the referral a stored resource belongs to, "" for none or an unknown resource."""
    query = select(resource.c.referral_id).where(
        resource.c.bucket == bucket_of(type_, id_), resource.c.type == type_, resource.c.id == id_
    )
    return str(conn.execute(query).scalar() or "")


def events_of(conn: Connection, referral_id: str) -> tuple[Event, ...]:
    """All events of a referral, in order."""
    query = (
        select(referral_event.c.data)
        .where(
            referral_event.c.bucket == bucket_of("Referral", referral_id),
            referral_event.c.referral_id == referral_id,
        )
        .order_by(referral_event.c.number)
    )
    return tuple(_EVENT.validate_json(data) for data in conn.execute(query).scalars())


def rows_of(
    stored: StoredReferral,
    events: Sequence[Event],
    not_owed: Sequence[NotOwed],
    *,
    standing: str,
    now: datetime,
) -> list[Batch]:
    """The rows that bring the stored referral to this state and append these events."""
    value = stored.referral
    at = to_micros(now)
    assignment = value.assignment
    row = {
        "bucket": stored.bucket,
        "id": value.id,
        "clr_id": value.clr_id,
        "plan": party_key(value.plan),
        "requester": party_key(value.requester),
        "provider": party_key(assignment.provider) if assignment else "",
        "cin": value.cin,
        "service": value.service,
        "closed": value.closure is not None,
        "held": stored.held,
        "standing": standing,
        "state": _REFERRAL.dump_json(value).decode(),
        "resources": stored.resources,
        "events": stored.events,
        "notices": stored.notices,
        "received_at": to_micros(value.received_at),
        "changed_at": at,
    }
    by_event: dict[int, dict[str, str]] = {}
    for no in not_owed:
        by_event.setdefault(no.event_number, {})[no.type.value] = no.rule
    event_rows = [
        {
            "bucket": stored.bucket,
            "referral_id": value.id,
            "number": event.number,
            "kind": event.kind.value,
            "on_date": event.on.isoformat(),
            "learned_at": to_micros(event.told.learned_at),
            "data": _EVENT.dump_json(event).decode(),
            "not_owed": json.dumps(by_event.get(event.number, {})),
        }
        for event in events
    ]
    batches = [
        Batch(referral, [row], replace=("bucket", "id")),
        Batch(referral_event, event_rows),
    ]
    if value.cin:
        seen = {"bucket": stored.bucket, "cin": value.cin, "seen_at": at}
        batches.append(Batch(member, [seen], replace=("bucket", "cin")))
    return batches


def _stored(row: RowMapping) -> StoredReferral:
    return StoredReferral(
        bucket=row["bucket"],
        referral=_REFERRAL.validate_json(row["state"]),
        resources=row["resources"],
        events=row["events"],
        notices=row["notices"],
        held=row["held"],
    )
