"""Fresh databases to measure on: SQLite files and a PostgreSQL server of our own, fsync on."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres_server import PostgresServer, find_binaries, running_server

from bench.made_up import PLAN
from fhir_hub_bridge.settings import Settings
from fhir_hub_bridge.store.schema import upgrade
from fhir_hub_bridge.store.transaction import open_store
from fhir_hub_bridge.wiring import Bridge, open_bridge

SQLITE, POSTGRESQL = "sqlite", "postgresql"


@dataclass(slots=True)
class Databases:
    """Hands out empty databases with all tables."""

    folder: Path
    server: PostgresServer | None
    _made: int = field(default=0)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What there is to measure on."""
        return (SQLITE, POSTGRESQL) if self.server else (SQLITE,)

    async def fresh(self, kind: str) -> Settings:
        """The settings of an instance on an empty database, in a folder of its own."""
        self._made += 1
        folder = self.folder / str(self._made)
        folder.mkdir()
        if kind == SQLITE:
            url = f"sqlite:///{folder / 'bridge.sqlite'}"
        else:
            assert self.server is not None
            url = self.server.url(self.server.create_database())
        store = await open_store(url)
        await upgrade(store)
        await store.close()
        return Settings(database=url, data_folder=folder, operator=str(PLAN.id))


@contextmanager
def databases(kinds: tuple[str, ...]) -> Iterator[Databases]:
    """The databases asked for; without PostgreSQL on the machine, SQLite alone."""
    with tempfile.TemporaryDirectory(prefix="fhb-bench-") as folder:
        binaries = find_binaries() if POSTGRESQL in kinds else None
        if binaries is None:
            yield Databases(Path(folder), None)
            return
        with running_server(binaries) as server:
            yield Databases(Path(folder), server)


@asynccontextmanager
async def a_bridge(settings: Settings) -> AsyncIterator[Bridge]:
    """The bridge on these settings, in this process."""
    async with open_bridge(settings) as bridge:
        yield bridge
