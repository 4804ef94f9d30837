"""Implementation-guide packages as they were added: a small replicated table, read whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from fhir_hub_bridge.store.instants import from_micros, to_micros
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import fhir_package


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """One package as it is listed. `sha256` is that of its bytes; `added_at` is aware, UTC."""

    name: str
    version: str
    sha256: str
    added_at: datetime


def put_package(
    conn: Connection, *, name: str, version: str, content: bytes, at: datetime
) -> StoredPackage:
    """Keep a package's bytes, in place of those with the same name and version."""
    stored = StoredPackage(name, version, hashlib.sha256(content).hexdigest(), at)
    row = {
        "name": name,
        "version": version,
        "sha256": stored.sha256,
        "added_at": to_micros(at),
        "content": content,
    }
    insert_all(conn, [Batch(fhir_package, [row], replace=("name", "version"))])
    return stored


def all_packages(conn: Connection) -> tuple[StoredPackage, ...]:
    """Every package, in the order in which they were added, without its bytes."""
    columns = fhir_package.c
    rows = conn.execute(
        select(columns.name, columns.version, columns.sha256, columns.added_at).order_by(
            columns.added_at, columns.name, columns.version
        )
    )
    return tuple(
        StoredPackage(row.name, row.version, row.sha256, from_micros(row.added_at)) for row in rows
    )


def package_contents(conn: Connection) -> tuple[bytes, ...]:
    """The bytes of every package, in the order in which they were added."""
    columns = fhir_package.c
    ordered = select(columns.content).order_by(columns.added_at, columns.name, columns.version)
    return tuple(conn.execute(ordered).scalars())
