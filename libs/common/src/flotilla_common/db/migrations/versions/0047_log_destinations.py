"""Destinations of logs as configuration; duplicates in the books.

Revision: 0047_log_destinations
Revises: 0046_campaign_openings
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0047_log_destinations"
down_revision = "0046_campaign_openings"
branch_labels = None
depends_on = None

SCHEMA = "log_shipper"
ADDED = (
    "kind",
    "origin",
    "spec",
    "secrets",
    "revision",
    "declared_at",
    "paused_at",
    "until_sequence",
    "failing_since",
    "last_error",
)


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    for column in (
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("origin", sa.Text(), server_default="environment", nullable=False),
        sa.Column("spec", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("declared_at", moment, nullable=True),
        sa.Column("paused_at", moment, nullable=True),
        sa.Column("until_sequence", sa.BigInteger(), nullable=True),
        sa.Column("failing_since", moment, nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("destinations", column, schema=SCHEMA)
    op.add_column("batches", sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False), schema=SCHEMA)
    op.add_column("ledger", sa.Column("duplicates", sa.BigInteger(), server_default="0", nullable=False), schema=SCHEMA)


def downgrade() -> None:
    """Take back."""
    op.drop_column("ledger", "duplicates", schema=SCHEMA)
    op.drop_column("batches", "attempts", schema=SCHEMA)
    for name in reversed(ADDED):
        op.drop_column("destinations", name, schema=SCHEMA)
