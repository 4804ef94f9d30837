"""What a search finds by, of every kind, and with the order of pages."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BYTES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # Its rows all come from the resources, and are made again by `schema.upgrade`.
    op.drop_table("search_token")
    op.create_table(
        "search_token",
        *_key(),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("value", _BYTES, nullable=False),
        sa.Column("last_updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "type", "id", "param", "system", "value"),
        info={"kind": "routed"},
        sqlite_with_rowid=False,
    )
    op.create_index(
        "search_token_value",
        "search_token",
        ["type", "param", "value", "last_updated", "id"],
        unique=False,
    )
    op.create_table(
        "search_reference",
        *_key(),
        sa.Column("target", _BYTES, nullable=False),
        sa.Column("last_updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "type", "id", "param", "target"),
        info={"kind": "routed"},
        sqlite_with_rowid=False,
    )
    op.create_index(
        "search_reference_target",
        "search_reference",
        ["type", "param", "target", "last_updated", "id"],
        unique=False,
    )
    op.create_table(
        "search_date",
        *_key(),
        sa.Column("lower", sa.BigInteger(), nullable=False),
        sa.Column("upper", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "type", "id", "param", "lower", "upper"),
        info={"kind": "routed"},
        sqlite_with_rowid=False,
    )
    op.create_index(
        "search_date_lower", "search_date", ["type", "param", "lower", "upper"], unique=False
    )
    op.create_table(
        "search_string",
        *_key(),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("folded", _BYTES, nullable=False),
        sa.Column("exact", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "type", "id", "param", "number"),
        info={"kind": "routed"},
        sqlite_with_rowid=False,
    )
    op.create_index(
        "search_string_folded", "search_string", ["type", "param", "folded"], unique=False
    )


def _key() -> list[sa.Column[Any]]:
    names = ("type", "id", "param")
    texts: list[sa.Column[Any]] = [sa.Column(n, sa.Text(), nullable=False) for n in names]
    return [sa.Column("bucket", sa.Integer(), nullable=False), *texts]
