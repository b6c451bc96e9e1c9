"""Logs: what hosts say that they lost, and how far those who read the stream for it are.

Revision: 0050_host_losses
Revises: 0049_query_reports
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0050_host_losses"
down_revision = "0049_query_reports"
branch_labels = None
depends_on = None

SCHEMA = "log_shipper"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "readers",
        sa.Column("name", sa.Text(), nullable=False),
        _bigint("cursor_sequence"),
        _moment("stream_created_at", nullable=True),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("name"),
        schema=SCHEMA,
    )
    op.create_table(
        "host_losses",
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        _bigint("lines"),
        _bigint("warnings"),
        sa.Column("marks", postgresql.JSONB(), server_default="[]", nullable=False),
        _moment("first_at"),
        _moment("last_at"),
        sa.PrimaryKeyConstraint("host_id", "kind"),
        schema=SCHEMA,
    )


def _bigint(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, server_default="0", nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    default = None if nullable else sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def downgrade() -> None:
    """Take back."""
    for table in ("host_losses", "readers"):
        op.drop_table(table, schema=SCHEMA)
