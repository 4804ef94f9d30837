"""Small tables and units for the tests of the store itself.

A pair is one row in each of two tables: a unit that stored half of it has broken its promise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    select,
)

from fhir_hub_bridge.store.transaction import Store, StoreLimits, open_store

only_sqlite = pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", id="sqlite")], indirect=True
)
only_postgres = pytest.mark.parametrize(
    "database_url",
    [pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres)],
    indirect=True,
)

metadata = MetaData()

first_half = Table(
    "first_half", metadata, Column("id", BigInteger, primary_key=True, autoincrement=False)
)
second_half = Table(
    "second_half", metadata, Column("id", BigInteger, primary_key=True, autoincrement=False)
)
versioned = Table(
    "versioned",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("writer", Integer, nullable=False),
)
parent = Table("parent", metadata, Column("id", Text, primary_key=True), Column("note", Text))
child = Table(
    "child",
    metadata,
    Column("parent_id", Text, ForeignKey("parent.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("big", BigInteger),
    Column("body", LargeBinary),
    Column("yes", Boolean),
    Column("ratio", Float),
    Column("order", Text),  # a word of SQL: names are quoted
)


@asynccontextmanager
async def small_store(url: str, *, make: bool = True, **limits: Any) -> AsyncIterator[Store]:
    """A store at `url` with the small tables, and with these limits."""
    store = await open_store(url, limits=StoreLimits(**limits))
    try:
        if make:
            await store.write(metadata.create_all)
        yield store
    finally:
        await store.close()


def write_pair(conn: Connection, number: int) -> int:
    """Store both halves."""
    conn.execute(insert(first_half), {"id": number})
    conn.execute(insert(second_half), {"id": number})
    return number


def first_halves(conn: Connection) -> set[int]:
    """The numbers of all first halves."""
    return set(conn.execute(select(first_half.c.id)).scalars())


def second_halves(conn: Connection) -> set[int]:
    """The numbers of all second halves."""
    return set(conn.execute(select(second_half.c.id)).scalars())


async def pairs(store: Store) -> set[int]:
    """The numbers of all pairs, after a look that none is half."""
    firsts = await store.read(first_halves)
    seconds = await store.read(second_halves)
    assert firsts == seconds
    return firsts
