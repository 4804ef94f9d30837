"""The schema's version: SQLite creates and upgrades itself, PostgreSQL must be at head."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from fhir_hub_bridge.errors import Misconfigured
from fhir_hub_bridge.store.search_index import rebuild_index
from fhir_hub_bridge.store.transaction import Store

# The migration after which all is indexed anew, by the code of today on the tables of today.
# Whoever changes what is indexed names a newer one.
_INDEXED_AS_NOW: Final = "0004"


async def prepare(store: Store) -> None:
    """Bring SQLite to head; raise Misconfigured when PostgreSQL is not there."""
    at = await store.read(current)
    if at == head():
        return
    if store.dialect == "sqlite":
        await upgrade(store)
        return
    raise Misconfigured(
        f"The database is at schema '{at or 'empty'}', this program needs '{head()}': "
        "run `fhir-hub-bridge db upgrade`."
    )


async def upgrade(store: Store) -> None:
    """Run the migrations that are missing, in one transaction."""
    await store.write(_upgrade)


def current(conn: Connection) -> str | None:
    """The revision the database is at, None when it is empty."""
    return MigrationContext.configure(conn).get_current_revision()


def head() -> str:
    """The revision this program needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None  # noqa: S101  # a package without migrations is broken
    return found


def _upgrade(conn: Connection) -> None:
    config = _config()
    config.attributes["connection"] = conn
    before = current(conn)
    command.upgrade(config, "head")
    if _is_index_older(before):
        rebuild_index(conn)


def _is_index_older(revision: str | None) -> bool:
    """Whether the index was made before what it holds was changed last; not where none is yet."""
    if revision is None:
        return False
    passed = ScriptDirectory.from_config(_config()).iterate_revisions(revision, "base")
    return _INDEXED_AS_NOW not in {script.revision for script in passed}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
