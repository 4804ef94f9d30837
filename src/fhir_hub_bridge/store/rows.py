"""Rows of several tables stored or deleted at once: one statement on PostgreSQL, else executemany.

The one place that branches on the dialect. Units of `store/` and `intake/` call it on their
Connection; one row and 8,000 rows take the same path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table, all with the same columns.

    With `replace`, the columns of a primary or unique key, a row whose key is there already takes
    the place of the stored one: all its other columns named in the row are overwritten.
    """

    table: Table
    rows: Sequence[Row]
    replace: tuple[str, ...] = ()


def insert_all(conn: Connection, batches: Sequence[Batch | tuple[Table, Sequence[Row]]]) -> None:
    """Insert all rows of all batches, or none: one statement, or inside the unit's transaction.

    Parents come before children in the list. Values go to the driver as they are: no column
    default of Python applies, a column that no row names gets the server's default or NULL.

    A table may come several times: the rows go together, at its first place, since one statement
    of PostgreSQL has no order among its parts. So its batches must agree in `replace`, and no key
    may come twice among rows that replace.

    Raises ValueError for rows whose columns differ within a batch, for batches that break the rule
    above, and for columns of other types than Integer, BigInteger, Text, LargeBinary, Boolean and
    Float (JSON is kept as Text, instants as BigInteger microseconds since 1970 UTC); IntegrityError
    from the database.
    """
    parts = _gathered(batches)
    if not parts:
        return
    if conn.dialect.name == "postgresql":
        arrays = chain.from_iterable(
            map(list, zip(*_values(part, rows), strict=True)) for part, rows in parts.items()
        )
        conn.exec_driver_sql(_statement_of(tuple(parts)), tuple(arrays))
    else:
        for part, rows in parts.items():
            conn.exec_driver_sql(_statement_of_one(part), _values(part, rows))


def delete_all(
    conn: Connection,
    tables: Sequence[Table],
    *,
    columns: tuple[str, ...],
    keys: Sequence[tuple[Any, ...]],
) -> None:
    """Delete from each of these tables every row whose `columns` are one of `keys`."""
    if not keys:
        return
    if conn.dialect.name == "postgresql":
        arrays = tuple(map(list, zip(*keys, strict=True)))
        conn.exec_driver_sql(_deletion_of(tuple(tables), columns), arrays)
    else:
        for table in tables:
            conn.exec_driver_sql(_deletion_of_one(table, columns), list(keys))


_POSTGRES_TYPES: dict[type, str] = {
    Integer: "integer",
    BigInteger: "bigint",
    Text: "text",
    LargeBinary: "bytea",
    Boolean: "boolean",
    Float: "double precision",
}
_quoted = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Part:
    """What a statement's text depends on."""

    table: Table
    columns: tuple[str, ...]
    replace: tuple[str, ...]


def _gathered(
    batches: Sequence[Batch | tuple[Table, Sequence[Row]]],
) -> dict[_Part, list[Row]]:
    parts: dict[_Part, list[Row]] = {}
    replaces: dict[Table, tuple[str, ...]] = {}
    for given in batches:
        batch = given if isinstance(given, Batch) else Batch(*given)
        if not batch.rows:
            continue
        columns = tuple(batch.rows[0])
        # A Mapping's keys compare as a set: the order of a row's keys does not matter.
        if any(row.keys() != batch.rows[0].keys() for row in batch.rows):
            raise ValueError(f"the rows of {batch.table.name} differ in their columns")
        if replaces.setdefault(batch.table, batch.replace) != batch.replace:
            raise ValueError(f"the batches of {batch.table.name} differ in what they replace")
        if missing := set(batch.replace) - set(columns):
            raise ValueError(f"rows replacing in {batch.table.name} lack {sorted(missing)}")
        parts.setdefault(_Part(batch.table, columns, batch.replace), []).extend(batch.rows)
    for part, rows in parts.items():
        if part.replace and len(set(map(itemgetter(*part.replace), rows))) != len(rows):
            raise ValueError(f"a key comes twice among the rows replacing in {part.table.name}")
    return parts


def _values(part: _Part, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    if len(part.columns) == 1:
        (column,) = part.columns
        return [(row[column],) for row in rows]
    return list(map(itemgetter(*part.columns), rows))


@lru_cache(maxsize=1024)
def _statement_of(parts: tuple[_Part, ...]) -> str:
    """PostgreSQL: every part a data-modifying CTE, the last one the statement itself."""
    inserts = []
    first = 1
    for part in parts:
        arrays = ", ".join(
            f"${number}::{_postgres_type(part.table, column)}[]"
            for number, column in enumerate(part.columns, first)
        )
        first += len(part.columns)
        inserts.append(_insert(part, f"SELECT * FROM unnest({arrays})"))  # noqa: S608  our names
    *others, last = inserts
    ctes = ", ".join(f"b{number} AS ({insert})" for number, insert in enumerate(others))
    return f"WITH {ctes} {last}" if ctes else last


@lru_cache(maxsize=1024)
def _statement_of_one(part: _Part) -> str:
    """SQLite: one row, for executemany."""
    for column in part.columns:
        _postgres_type(part.table, column)  # the same refusals on both databases
    return _insert(part, f"VALUES ({', '.join('?' * len(part.columns))})")


@lru_cache(maxsize=64)
def _deletion_of(tables: tuple[Table, ...], columns: tuple[str, ...]) -> str:
    """PostgreSQL: every table a data-modifying CTE, the last one the statement itself."""
    names = ", ".join(map(_quoted, columns))
    arrays = ", ".join(
        f"${number}::{_postgres_type(tables[0], column)}[]"
        for number, column in enumerate(columns, 1)
    )
    same = " AND ".join(f"t.{_quoted(column)} = keys.{_quoted(column)}" for column in columns)
    *others, last = [
        f"DELETE FROM {_named(table)} t USING keys WHERE {same}"  # noqa: S608  our names
        for table in tables
    ]
    ctes = "".join(f", d{number} AS ({delete})" for number, delete in enumerate(others))
    return f"WITH keys({names}) AS (SELECT * FROM unnest({arrays})){ctes} {last}"  # noqa: S608


@lru_cache(maxsize=64)
def _deletion_of_one(table: Table, columns: tuple[str, ...]) -> str:
    """SQLite: one key, for executemany."""
    same = " AND ".join(f"{_quoted(column)} = ?" for column in columns)
    return f"DELETE FROM {_named(table)} WHERE {same}"  # noqa: S608  our names


def _insert(part: _Part, source: str) -> str:
    names = ", ".join(map(_quoted, part.columns))
    return f"INSERT INTO {_named(part.table)} ({names}) {source}{_on_conflict(part)}"


def _named(table: Table) -> str:
    return ".".join(_quoted(name) for name in (table.schema, table.name) if name)


def _on_conflict(part: _Part) -> str:
    if not part.replace:
        return ""
    others = [_quoted(column) for column in part.columns if column not in part.replace]
    keys = ", ".join(map(_quoted, part.replace))
    if not others:
        return f" ON CONFLICT ({keys}) DO NOTHING"
    return f" ON CONFLICT ({keys}) DO UPDATE SET " + ", ".join(
        f"{c} = excluded.{c}" for c in others
    )


def _postgres_type(table: Table, column: str) -> str:
    if column not in table.c:
        raise ValueError(f"{table.name} has no column {column}")
    kind = type(table.c[column].type)
    # By exact type: a subclass or a TypeDecorator would change values on their way, and here
    # nothing does.
    if kind not in _POSTGRES_TYPES:
        raise ValueError(f"{table.name}.{column} is {kind.__name__}, which insert_all cannot store")
    return _POSTGRES_TYPES[kind]
