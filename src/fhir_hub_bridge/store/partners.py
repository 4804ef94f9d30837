"""Partners and their notification agreements: a small replicated table, read whole."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from pydantic import TypeAdapter
from sqlalchemy import Connection, select

from fhir_hub_bridge.errors import Unknown
from fhir_hub_bridge.referral.parties import Partner
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import partner

_PARTNER: TypeAdapter[Partner] = TypeAdapter(Partner)
_ALL = select(partner.c.data).order_by(partner.c.id)


def all_partners(conn: Connection) -> tuple[Partner, ...]:
    """Every partner, by id."""
    rows = conn.execute(_ALL).scalars()
    return tuple(_partner(data) for data in rows)


def find_partner(conn: Connection, partner_id: str) -> Partner:
    """One partner. Raises Unknown."""
    data = conn.execute(select(partner.c.data).where(partner.c.id == partner_id)).scalar()
    if data is None:
        raise Unknown(f"No partner is registered as '{partner_id}'.")
    return _partner(data)


def put_partner(conn: Connection, value: Partner, *, at: datetime) -> None:
    """Register a partner, or replace what was registered under its id."""
    data = _PARTNER.dump_json(value).decode()
    row = {"id": value.id, "data": data, "updated_at": to_micros(at)}
    insert_all(conn, [Batch(partner, [row], replace=("id",))])


@lru_cache(maxsize=4096)
def _partner(data: str) -> Partner:
    """What is stored of a partner; read with every request, and changed once a year."""
    return _PARTNER.validate_json(data)
