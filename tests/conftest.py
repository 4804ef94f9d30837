"""Fixtures for tests that need a database: each test gets a fresh one, on SQLite and PostgreSQL.

`database_url` is a fresh empty database, `store` a Store on it with all tables, `bare_store` one
without. A test that opens its own store asks for `database_url` and `tables`.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.postgres_server import PostgresServer, find_binaries, in_own_loop, running_server

from fhir_hub_bridge.store.transaction import Store, open_store

DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres),
]


async def prepare_schema(store: Store) -> None:
    """Make all tables of the bridge in an empty database."""
    if importlib.util.find_spec("fhir_hub_bridge.store.tables") is None:
        return
    from fhir_hub_bridge.store.tables import metadata

    await store.write(metadata.create_all)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One real server for all tests of a run."""
    binaries = find_binaries()
    if binaries is None:
        # .ci/run looks for these words and fails: there, PostgreSQL is always installed.
        pytest.skip("SKIPPED LOUDLY: PostgreSQL not found (initdb and postgres are needed)")
    with running_server(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "bridge.db"
    in_own_loop(_prepare(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A PostgreSQL database with all tables, to be copied."""
    name = postgres_server.create_database()
    in_own_loop(_prepare(postgres_server.url(name)))
    return name


@pytest.fixture(scope="session")
def postgres_spare() -> list[str]:
    """Names of databases with all tables and no rows, left by tests before."""
    return []


@pytest.fixture
def tables() -> None:
    """Whoever asks for this finds all tables in `database_url`."""


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database on each of the two, without tables unless the test asks for `tables`."""
    with_tables = "tables" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "bridge.db"
        if with_tables:
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    if not with_tables:
        name = server.create_database()
        yield server.url(name)
        server.drop_database(name)
        return
    # Emptying one costs a tenth of making one.
    template: str = request.getfixturevalue("postgres_template")
    spare: list[str] = request.getfixturevalue("postgres_spare")
    name = spare.pop() if spare else server.create_database(template=template)
    yield server.url(name)
    if server.emptied(name, like=template):
        spare.append(name)
    else:
        server.drop_database(name)


@pytest.fixture
async def store(database_url: str, tables: None) -> AsyncIterator[Store]:
    """An open store on `database_url`, with all tables."""
    opened = await open_store(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def bare_store(database_url: str) -> AsyncIterator[Store]:
    """An open store on `database_url`, without tables."""
    opened = await open_store(database_url)
    yield opened
    await opened.close()


async def _prepare(url: str) -> None:
    store = await open_store(url)
    await prepare_schema(store)
    await store.close()
