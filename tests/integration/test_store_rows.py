"""Rows of several tables are stored at once, the same on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Column, Connection, DateTime, MetaData, String, Table, event, func, select
from sqlalchemy.exc import IntegrityError
from tests.integration.small_tables import child, first_half, parent, small_store, versioned

from fhir_hub_bridge.store.rows import Batch, delete_all, insert_all
from fhir_hub_bridge.store.transaction import Store


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Store]:
    async with small_store(database_url) as store:
        yield store


def a_child(parent_id: str, number: int, **changed: Any) -> dict[str, Any]:
    return {
        "parent_id": parent_id,
        "number": number,
        "big": 2**62,
        "body": b"\x00\xff",
        "yes": True,
        "ratio": 0.1,
        "order": "é 中 '\"",
        **changed,
    }


def all_of(conn: Connection, table: Table) -> list[dict[str, Any]]:
    rows = conn.execute(select(table).order_by(*table.primary_key.columns)).mappings()
    return [dict(row) for row in rows]


@pytest.mark.parametrize("rows", [1, 8000])
async def test_rows_of_several_tables_come_back_as_they_were(small: Store, rows: int) -> None:
    ids = [f"p{number:05}" for number in range(rows)]
    parents = [{"id": id_, "note": None} for id_ in ids]
    children = [
        a_child(id_, number, big=None if number else -1, yes=bool(number))
        for id_ in ids
        for number in range(2)
    ]

    await small.write(insert_all, [(parent, parents), Batch(child, children)])

    assert await small.read(all_of, parent) == parents
    assert await small.read(all_of, child) == children


async def test_postgresql_needs_one_statement_for_all(small: Store) -> None:
    statements: list[str] = []

    def unit(conn: Connection) -> None:
        event.listen(conn, "before_cursor_execute", note)
        insert_all(
            conn,
            [
                (parent, [{"id": "a", "note": "x"}]),
                (child, [a_child("a", number) for number in range(5)]),
                (first_half, [{"id": 1}]),
                (versioned, []),
            ],
        )
        event.remove(conn, "before_cursor_execute", note)

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    await small.write(unit)

    assert len(statements) == (1 if small.dialect == "postgresql" else 3)


async def test_nothing_to_store_is_nothing_to_do(small: Store) -> None:
    await small.write(insert_all, [])
    await small.write(insert_all, [(parent, []), Batch(child, [])])

    assert await small.read(all_of, parent) == []


async def test_a_row_that_breaks_a_key_stores_none_of_the_batches(small: Store) -> None:
    await small.write(insert_all, [(parent, [{"id": "a", "note": ""}])])

    taken: list[Any] = [
        (first_half, [{"id": 1}]),
        (parent, [{"id": "b", "note": ""}, {"id": "a", "note": ""}]),
    ]
    orphaned: list[Any] = [
        (parent, [{"id": "c", "note": ""}]),
        (child, [a_child("nobody", 1)]),
    ]
    for batches in (taken, orphaned):
        with pytest.raises(IntegrityError):
            await small.write(insert_all, batches)

    assert await small.read(all_of, parent) == [{"id": "a", "note": ""}]
    assert await small.read(all_of, first_half) == []


async def test_replacing_rows_overwrite_what_their_key_names_and_insert_the_rest(
    small: Store,
) -> None:
    await small.write(insert_all, [(parent, [{"id": "a", "note": ""}])])
    await small.write(insert_all, [(child, [a_child("a", 1), a_child("a", 2)])])

    renewed = [a_child("a", 2, ratio=0.5, yes=False), a_child("a", 3, big=7)]
    await small.write(insert_all, [Batch(child, renewed, replace=("parent_id", "number"))])

    assert await small.read(all_of, child) == [a_child("a", 1), *renewed]


async def test_a_replacing_row_that_is_all_key_is_stored_once(small: Store) -> None:
    for _ in range(2):
        await small.write(insert_all, [Batch(first_half, [{"id": 1}], replace=("id",))])

    assert await small.read(all_of, first_half) == [{"id": 1}]


async def test_a_table_may_come_twice(small: Store) -> None:
    await small.write(
        insert_all,
        [
            (parent, [{"id": "a", "note": "x"}]),
            Batch(versioned, [{"id": "1", "version": 1, "writer": 1}], replace=("id",)),
            (first_half, [{"id": 1}]),
            (parent, [{"note": "y", "id": "b"}]),
            (parent, [{"id": "c"}]),
            Batch(versioned, [{"id": "2", "version": 1, "writer": 1}], replace=("id",)),
        ],
    )

    assert await small.read(all_of, parent) == [
        {"id": "a", "note": "x"},
        {"id": "b", "note": "y"},
        {"id": "c", "note": None},
    ]
    assert await small.read(lambda conn: conn.scalar(select(func.count(versioned.c.id)))) == 2


odd = Table("odd", MetaData(), Column("at", DateTime), Column("name", String(10)))


REFUSED: list[tuple[str, list[Any]]] = [
    ("parent differ in their columns", [(parent, [{"id": "a", "note": ""}, {"id": "b"}])]),
    ("parent has no column colour", [(parent, [{"id": "a", "colour": "red"}])]),
    ("odd.at is DateTime", [(odd, [{"at": 1}])]),
    ("odd.name is String", [(odd, [{"name": "x"}])]),
    (
        r"versioned lack \['version'\]",
        [Batch(versioned, [{"id": "a"}], replace=("version",))],
    ),
    (
        "a key comes twice among the rows replacing in versioned",
        [Batch(versioned, [{"id": "a"}, {"id": "a"}], replace=("id",))],
    ),
    (
        "batches of versioned differ in what they replace",
        [(versioned, [{"id": "a"}]), Batch(versioned, [{"id": "b"}], replace=("id",))],
    ),
]


async def test_rows_of_several_tables_are_deleted_by_their_keys(small: Store) -> None:
    parents = [{"id": id_, "note": None} for id_ in ("a", "b", "c")]
    children = [a_child(id_, number) for id_ in ("a", "b", "c") for number in range(2)]
    await small.write(insert_all, [(parent, parents), Batch(child, children)])

    await small.write(delete_all, [child], columns=("parent_id", "number"), keys=[("b", 0)])
    await small.write(delete_all, [child], columns=("parent_id",), keys=[("a",), ("nobody",)])
    await small.write(delete_all, [child], columns=("parent_id",), keys=[])

    left = [(row["parent_id"], row["number"]) for row in await small.read(all_of, child)]
    assert left == [("b", 1), ("c", 0), ("c", 1)]


async def test_batches_that_the_databases_would_treat_differently_are_refused_on_both(
    small: Store,
) -> None:
    for words, batches in REFUSED:
        with pytest.raises(ValueError, match=words):
            await small.write(insert_all, batches)
