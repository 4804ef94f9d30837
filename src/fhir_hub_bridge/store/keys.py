"""Several keys in one statement, in a form that both databases look up by index.

SQLite scans the whole table for `(a, b) IN (VALUES ...)` with more than one row of values; with
each column's own `IN` beside it, it searches the index and the pairs only filter what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, tuple_


def among(
    columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]
) -> ColumnElement[bool]:
    """Whether these columns together are one of `keys`; an index on the columns is used."""
    each = [
        column.in_(sorted({key[place] for key in keys})) for place, column in enumerate(columns)
    ]
    return and_(*each, tuple_(*columns).in_(list(keys)))


def among_given(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
    """As `among`, for a statement that is built once: `keys_given` are its parameters."""
    each = [
        column.in_(bindparam(f"keys_{place}", expanding=True))
        for place, column in enumerate(columns)
    ]
    return and_(*each, tuple_(*columns).in_(bindparam("keys", expanding=True)))


def keys_given(keys: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """The parameters of `among_given`; at least one key."""
    each = {
        f"keys_{place}": sorted(set(part)) for place, part in enumerate(zip(*keys, strict=True))
    }
    return {**each, "keys": list(keys)}
