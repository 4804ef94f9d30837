"""Packages are kept in the database, on both, and known to a bridge that is opened after."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.api_client import NOON
from tests.profile_builders import a_profile, an_archive

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.packages import Package, read_package
from fhir_hub_bridge.settings import Settings
from fhir_hub_bridge.store.packages import (
    StoredPackage,
    all_packages,
    package_contents,
    put_package,
)
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.wiring import library_of, open_bridge

OLD = an_archive({"package/p.json": a_profile("Task", version="1.0.0")})
NEW = an_archive({"package/p.json": a_profile("Task", version="2.0.0")}, version="2.0.0")
NAME = "made.up.guide"


async def test_versions_are_kept_side_by_side(store: Store) -> None:
    for days, version, content in ((1, "2.0.0", NEW), (0, "1.0.0", OLD)):
        at = NOON + timedelta(days=days)
        await store.write(_put, version, content, at)

    listed = await store.read(all_packages)

    assert [(p.name, p.version, p.added_at) for p in listed] == [
        (NAME, "1.0.0", NOON),
        (NAME, "2.0.0", NOON + timedelta(days=1)),
    ]
    assert [p.sha256 for p in listed] == [sha256(data).hexdigest() for data in (OLD, NEW)]
    assert await store.read(package_contents) == (OLD, NEW)


async def test_the_same_version_again_takes_the_place_of_the_first(store: Store) -> None:
    await store.write(_put, "1.0.0", OLD, NOON)
    await store.write(_put, "1.0.0", NEW, NOON)

    assert await store.read(package_contents) == (NEW,)


async def test_a_library_holds_the_packages_and_our_own_guide(store: Store) -> None:
    await store.write(_put, "1.0.0", OLD, NOON)
    await store.write(_put, "2.0.0", NEW, NOON)

    library = library_of(await store.read(package_contents))

    url = a_profile("Task")["url"]
    newest, old = library.resolve(url), library.resolve(f"{url}|1.0.0")
    assert newest is not None
    assert old is not None
    assert (newest.version, old.version) == ("2.0.0", "1.0.0")
    assert library.resolve(f"{canonical.BASE}/StructureDefinition/clr-referral-task") is not None


@pytest.mark.parametrize("wanted", [True, False])
async def test_packages_are_read_in_a_thread_before_the_bridge_is_there_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'bridge.sqlite'}")
    async with open_bridge(settings, with_packages=False) as bridge:
        await bridge.store.write(_put, "1.0.0", OLD, NOON)
    threads: list[threading.Thread] = []

    def read(content: bytes) -> Package:
        threads.append(threading.current_thread())
        return read_package(content)

    monkeypatch.setattr("fhir_hub_bridge.wiring.read_package", read)

    async with open_bridge(settings, with_packages=wanted) as bridge:
        read_in = [*threads]
        held = bridge.library.resolve(a_profile("Task")["url"])

    assert (held is not None) == wanted
    assert len(read_in) == len(threads) == int(wanted)
    assert threading.current_thread() not in threads


def _put(conn: Connection, version: str, content: bytes, at: datetime) -> StoredPackage:
    return put_package(conn, name=NAME, version=version, content=content, at=at)
