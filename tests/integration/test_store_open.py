"""A store opens only on a database that keeps what it is told, and says why not otherwise."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url
from tests.integration.small_tables import only_postgres, only_sqlite, small_store, write_pair
from tests.postgres_server import PostgresServer

from fhir_hub_bridge.errors import BadSetting, Misconfigured, StoreBusy
from fhir_hub_bridge.store.transaction import open_store


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/bridge",
        "sqlite+aiosqlite:///bridge.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:bridge.db",
        "sqlite:///bridge.db?mode=memory",
        "postgresql://user:secret@host:not-a-port/bridge",
        "bridge.db",
    ],
)
async def test_other_urls_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        await open_store(url)

    assert "secret" not in str(caught.value)


async def test_a_sqlite_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "bridge.db"

    async with small_store(f"sqlite:///{path}") as store:
        await store.write(write_pair, 1)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes == {"bridge.db": 0o600, "bridge.db-wal": 0o600, "bridge.db-shm": 0o600}
    assert [file.name for file in path.parent.iterdir()] == ["bridge.db"]


@only_sqlite
async def test_sqlite_connections_keep_what_is_committed(database_url: str) -> None:
    def settings(conn: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        return {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}

    async with small_store(database_url, make=False) as store:
        writer = await store.write(settings)
        reader = await store.read(settings)

    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    assert writer == {**expected, "query_only": 0}
    assert reader == {**expected, "query_only": 1}


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, this is no database. " * 40)

    with pytest.raises(Misconfigured, match="not a SQLite database"):
        await open_store(f"sqlite:///{path}")


async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Misconfigured, match="cannot be opened"):
        await open_store(f"sqlite:///{tmp_path}/file/bridge.db")


@only_postgres
async def test_both_schemes_of_postgresql_are_known(database_url: str) -> None:
    store = await open_store(database_url.replace("postgresql:", "postgres:"))

    assert store.dialect == "postgresql"
    await store.close()


@only_postgres
async def test_a_server_that_forgets_is_refused_unless_that_is_wanted(
    database_url: str, postgres_server: PostgresServer
) -> None:
    name = make_url(database_url).database
    postgres_server.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")

    with pytest.raises(Misconfigured, match="synchronous_commit is off"):
        await open_store(database_url)

    store = await open_store(database_url, allow_unsafe=True)
    await store.close()


@only_postgres
async def test_a_database_that_is_not_there_is_a_mistake_of_the_setting(
    database_url: str, postgres_server: PostgresServer
) -> None:
    with pytest.raises(Misconfigured, match="nowhere"):
        await open_store(postgres_server.url("nowhere"))


async def test_a_server_that_does_not_answer_is_busy(tmp_path: Path) -> None:
    with pytest.raises(StoreBusy, match="does not answer"):
        await open_store(f"postgresql:///bridge?host={tmp_path}&user=postgres&port=54329")
