"""Several keys at once are looked up by index; SQLite would else scan the table."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.engine import Connection
from tests.integration.small_tables import only_sqlite

from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.tables import resource
from fhir_hub_bridge.store.transaction import Store

KEYS = [(5, "Task", "a"), (900, "Task", "b"), (5, "ServiceRequest", "c")]


@only_sqlite
async def test_several_keys_are_searched_by_index(store: Store) -> None:
    columns = [resource.c.bucket, resource.c.type, resource.c.id]
    query = select(resource.c.id).where(among(columns, KEYS))

    def plan(conn: Connection) -> str:
        text = query.compile(conn, compile_kwargs={"literal_binds": True})
        rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
        return "\n".join(str(row) for row in rows)

    said = await store.read(plan)

    assert "SEARCH resource" in said
    assert "SCAN resource" not in said
