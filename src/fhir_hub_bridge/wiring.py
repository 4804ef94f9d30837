"""The one place that puts the parts together; the `Bridge` it makes stops at the doors."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from fhir_hub_bridge.fhir.packages import EMPTY_LIBRARY, Library, Package, package_of, read_package
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.catalog import Catalog, load_catalog
from fhir_hub_bridge.settings import Settings, shipped
from fhir_hub_bridge.store.packages import package_contents
from fhir_hub_bridge.store.schema import prepare
from fhir_hub_bridge.store.transaction import Store, open_store

if TYPE_CHECKING:
    from fhir_hub_bridge.connectors.fhir_reader import FhirReader


class OneReader:
    """The process's reader of partners' servers, made when first asked for: most need none."""

    def __init__(self) -> None:
        self._made: FhirReader | None = None

    def __call__(self) -> FhirReader:
        """The reader."""
        if self._made is None:
            from fhir_hub_bridge.connectors.fhir_reader import FhirReader

            self._made = FhirReader()
        return self._made

    async def close(self) -> None:
        """Close its connections, if there are any."""
        if self._made is not None:
            await self._made.close()


@dataclass(frozen=True, slots=True)
class Bridge:
    """What the doors hand to the jobs, piece by piece."""

    settings: Settings
    store: Store
    catalog: Catalog
    clock: Callable[[], datetime]  # aware, UTC
    library: Library = EMPTY_LIBRARY
    reader: Callable[[], FhirReader] = field(default_factory=OneReader)

    def recording(self) -> Recording:
        """A fresh context for one request or one file: its moment and its randomness."""
        return Recording(
            rulebook=self.catalog.rulebook,
            operator=self.settings.operator,
            base_url=self.settings.base_url,
            escalation_owner=self.settings.escalation_owner,
            now=self.clock(),
            seed=secrets.token_bytes(16),
            library=self.library,
        )


def library_of(packages: Sequence[bytes]) -> Library:
    """Our own guide, and these packages beside it; read when first asked or told to."""

    def read() -> Iterator[Package]:
        yield own_guide()
        for content in packages:
            yield read_package(content)

    return Library(read)


def own_guide() -> Package:
    """Our implementation guide, as shipped."""
    files = sorted(shipped("profiles").glob("*-*.json"))
    return package_of(OWN_GUIDE, version("fhir-hub-bridge"), (f.read_bytes() for f in files))


OWN_GUIDE: Final = "fhir-hub-bridge.guide"


def utc_now() -> datetime:
    """The machine's clock, in UTC."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_bridge(
    settings: Settings, *, clock: Callable[[], datetime] = utc_now, with_packages: bool = True
) -> AsyncIterator[Bridge]:
    """The bridge on its database, which is created (SQLite) or must be at head (PostgreSQL).

    `with_packages` reads those that were added, in a thread, which takes seconds for large ones;
    without, the library holds our own guide alone, for who judges no resource by profiles.

    Raises Misconfigured for a bad setting, mapping or schema.
    """
    catalog = load_catalog(settings.mappings)
    if settings.database_url.startswith("sqlite"):
        settings.data_folder.mkdir(parents=True, exist_ok=True)
    store = await open_store(settings.database_url)
    reader = OneReader()
    try:
        await prepare(store)
        library = library_of(await store.read(package_contents) if with_packages else ())
        if with_packages:
            await asyncio.to_thread(library.index)
        yield Bridge(settings, store, catalog, clock, library, reader)
    finally:
        await reader.close()
        await store.close()
