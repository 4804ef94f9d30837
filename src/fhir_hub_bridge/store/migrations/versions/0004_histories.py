"""Histories of types by time, whose each version was, and requests kept as they came."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "resource_version_newest",
        "resource_version",
        ["type", "last_updated", "id", "version"],
        unique=False,
    )
    op.add_column(
        "resource_version", sa.Column("source", sa.Text(), nullable=False, server_default="")
    )
    op.create_table(
        "received_body",
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "digest"),
        info={"kind": "routed"},
    )
