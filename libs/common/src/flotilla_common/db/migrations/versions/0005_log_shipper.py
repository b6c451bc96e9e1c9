"""Tables of log-shipper.

Revision: 0005_log_shipper
Revises: 0004_live_query
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_log_shipper"
down_revision = "0004_live_query"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("CREATE SCHEMA log_shipper")
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("destination", sa.Text(), server_default="", nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lines", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column(
            "target", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="log_shipper",
    )
    op.create_index(
        "batches_destination", "batches", ["destination", "first_sequence"], unique=True, schema="log_shipper"
    )
    op.create_table(
        "destinations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor_sequence", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("stream_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        schema="log_shipper",
    )
    op.create_table(
        "intake",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cursor_sequence", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("stream_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="log_shipper",
    )
    op.create_table(
        "ledger",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("log_type", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("filtered", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("delivered", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("dead_lettered", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("destination", "log_type", "hour"),
        schema="log_shipper",
    )


def downgrade() -> None:
    """Take back."""
    op.execute("DROP SCHEMA log_shipper CASCADE")
