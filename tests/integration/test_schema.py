"""Migrations make exactly the tables that the code speaks of, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from tests.api_client import NOON, a_task, keep

from fhir_hub_bridge.errors import Misconfigured
from fhir_hub_bridge.store import schema
from fhir_hub_bridge.store.resources import NewVersion, batches_of
from fhir_hub_bridge.store.schema import current, head, prepare, upgrade
from fhir_hub_bridge.store.search_index import INDEX_TABLES, rebuild_index
from fhir_hub_bridge.store.tables import metadata, resource
from fhir_hub_bridge.store.transaction import Store


def differences(conn: Connection) -> list[Any]:
    context = MigrationContext.configure(conn, opts={"compare_type": True})
    found: list[Any] = compare_metadata(context, metadata)
    return found


def keys_and_indexes(conn: Connection) -> dict[str, Any]:
    """What `compare_metadata` does not look at."""
    inspector = inspect(conn)
    return {
        table: (
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted(
                (key["constrained_columns"], key["referred_table"], key["referred_columns"])
                for key in inspector.get_foreign_keys(table)
            ),
            sorted(tuple(key["column_names"]) for key in inspector.get_unique_constraints(table)),
            sorted(
                (str(index["name"]), tuple(index["column_names"]))
                for index in inspector.get_indexes(table)
                if not index.get("duplicates_constraint") and not index["unique"]
            ),
        )
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


async def test_migrations_make_the_tables_that_the_code_speaks_of(bare_store: Store) -> None:
    await upgrade(bare_store)

    assert await bare_store.read_snapshot(differences) == []
    assert await bare_store.read(current) == head()


async def test_keys_and_indexes_are_the_same_too(bare_store: Store) -> None:
    await upgrade(bare_store)
    migrated = await bare_store.read_snapshot(keys_and_indexes)
    await drop_all(bare_store)
    await bare_store.write(metadata.create_all)
    created = await bare_store.read_snapshot(keys_and_indexes)

    assert migrated == created
    assert set(created) == set(metadata.tables)


async def drop_all(store: Store) -> None:
    def drop(conn: Connection) -> None:
        for table in reversed(metadata.sorted_tables):
            table.drop(conn)

    await store.write(drop)


async def test_upgrading_twice_changes_nothing(bare_store: Store) -> None:
    await upgrade(bare_store)
    await upgrade(bare_store)

    assert await bare_store.read_snapshot(differences) == []


async def test_what_was_stored_before_is_found_after_an_upgrade(bare_store: Store) -> None:
    await upgrade(bare_store)
    await keep(bare_store, *(a_task(f"t{n}", code={"coding": [{"code": "x"}]}) for n in range(3)))
    before = await bare_store.read_snapshot(index_rows)

    await bare_store.write(rebuild_index)

    assert await bare_store.read_snapshot(index_rows) == before
    assert all(before[table] for table in ("search_token", "search_reference"))


async def test_an_upgrade_indexes_what_an_older_program_stored(bare_store: Store) -> None:
    def make_old(conn: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = conn
        command.upgrade(config, "0002")
        (current,) = [b for b in batches_of([NewVersion(a_task("t1"), 1, NOON)]) if b.replace]
        conn.execute(resource.insert(), [dict(row) for row in current.rows])

    await bare_store.write(make_old)

    await upgrade(bare_store)

    assert (await bare_store.read_snapshot(index_rows))["search_token"]


def index_rows(conn: Connection) -> dict[str, list[Any]]:
    """All that resources are found by."""
    return {
        table.name: [tuple(row) for row in conn.execute(table.select().order_by(*table.c))]
        for table in INDEX_TABLES
    }


async def test_sqlite_makes_itself_ready_and_postgresql_says_what_it_needs(
    bare_store: Store,
) -> None:
    if bare_store.dialect == "sqlite":
        await prepare(bare_store)
    else:
        with pytest.raises(Misconfigured, match="db upgrade"):
            await prepare(bare_store)
        await upgrade(bare_store)

    await prepare(bare_store)

    assert await bare_store.read(current) == head()


async def test_a_schema_from_elsewhere_is_refused_on_postgresql(bare_store: Store) -> None:
    await upgrade(bare_store)

    def pretend(conn: Connection) -> None:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")

    await bare_store.write(pretend)

    if bare_store.dialect == "postgresql":
        with pytest.raises(Misconfigured, match="0000"):
            await prepare(bare_store)
