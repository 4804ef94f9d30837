"""Room to grow, checked over the table metadata: what is routed, replicated, rebuildable."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from fhir_hub_bridge.store import tables
from fhir_hub_bridge.store.buckets import BUCKETS, bucket_of, bucket_of_key, mint
from fhir_hub_bridge.store.tables import PROJECTION, REPLICATED, ROUTED, metadata

TABLES = sorted(metadata.tables.values(), key=lambda table: table.name)
ROUTED_TABLES = [table for table in TABLES if table.info.get("kind") == ROUTED]
STORE = Path(tables.__file__).parent


def named(table: Table) -> str:
    return table.name


@pytest.mark.parametrize("table", TABLES, ids=named)
def test_every_table_says_its_kind(table: Table) -> None:
    assert table.info.get("kind") in (ROUTED, REPLICATED, PROJECTION)


@pytest.mark.parametrize("table", ROUTED_TABLES, ids=named)
def test_the_bucket_comes_first_in_every_key_of_a_routed_table(table: Table) -> None:
    assert isinstance(table.c.bucket.type, Integer)
    assert not table.c.bucket.nullable
    for constraint in table.constraints:
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
            assert next(iter(constraint.columns)).name == "bucket"
        elif isinstance(constraint, ForeignKeyConstraint):
            assert constraint.column_keys[0] == "bucket"
            assert next(iter(constraint.elements)).column.name == "bucket"
    for index in table.indexes:
        assert not index.unique or next(iter(index.columns)).name == "bucket"


@pytest.mark.parametrize("table", TABLES, ids=named)
def test_keys_cross_no_kinds(table: Table) -> None:
    for key in table.foreign_keys:
        assert key.column.table.info["kind"] == table.info["kind"] == ROUTED


@pytest.mark.parametrize("table", TABLES, ids=named)
def test_no_database_clock_no_sequence_and_no_default(table: Table) -> None:
    for column in table.columns:
        assert column.server_default is None
        assert column.default is None
        assert column.onupdate is None
        assert column.identity is None
        assert column.autoincrement in ("auto", False)
        if column.primary_key and isinstance(column.type, Integer):
            # an integer key alone would be a sequence on either database
            assert len(table.primary_key.columns) > 1


@pytest.mark.parametrize("table", TABLES, ids=named)
def test_both_databases_keep_the_same_values(table: Table) -> None:
    kinds = {type(column.type) for column in table.columns}

    assert kinds <= {Integer, BigInteger, Text, LargeBinary, Boolean, Float}


@pytest.mark.parametrize("table", TABLES, ids=named)
def test_instants_are_microseconds_and_named_so(table: Table) -> None:
    for column in table.columns:
        if column.name.endswith("_at") or column.name == "lease_until":
            assert isinstance(column.type, BigInteger)


def test_an_id_of_ours_carries_its_bucket_and_is_a_fhir_id() -> None:
    for bucket in (0, 1, 31, 32, 1023):
        id_ = mint(bucket, bytes(range(bucket % 7, bucket % 7 + 10)))

        assert bucket_of("Task", id_) == bucket
        assert len(id_) <= 64
        assert id_.isalnum()


def test_any_other_id_hashes_to_a_bucket() -> None:
    others = ("a", "Task-1", "0" * 18, "zzzzzzzzzzzzzzzzzzz", "6c3d22zfkwcy44p9qgg")

    for id_ in others:
        assert 0 <= bucket_of("Task", id_) < BUCKETS
    assert bucket_of("Task", "a") != bucket_of("Patient", "a")


def test_buckets_are_spread() -> None:
    counts = [0] * BUCKETS
    for number in range(20_000):
        counts[bucket_of_key(f"9{number:07d}A")] += 1

    assert max(counts) < 60
    assert min(counts) > 0


def test_no_statement_relies_on_what_a_distributed_engine_lacks() -> None:
    lacking = ("advisory_lock", "NOTIFY", "LISTEN ", "TRIGGER", "CURRENT_TIMESTAMP", "now()")

    found = [
        (path.name, word)
        for path in STORE.rglob("*.py")
        for text in _statements(path)
        for word in lacking
        if word.casefold() in text.casefold()
    ]

    assert found == []


def _statements(path: Path) -> Iterable[str]:
    """The texts of a module, but for its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value
