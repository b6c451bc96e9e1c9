"""Carves, their blocks, and an index of the campaigns that carve.

Revision: 0040_carves
Revises: 0031_orbit_identity
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040_carves"
down_revision = "0031_orbit_identity"
branch_labels = None
depends_on = None

KEPT = sa.text("expired_at IS NULL")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "carves",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("carve_guid", sa.Text(), server_default="", nullable=False),
        sa.Column("request_id", sa.Text(), server_default="", nullable=False),
        sa.Column("block_count", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("carve_size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("blocks_stored", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("bytes_stored", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("max_block", sa.BigInteger(), server_default="-1", autoincrement=False, nullable=False),
        sa.Column("format", sa.Text(), server_default="", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sweeps", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="live_query",
    )
    op.create_index("carves_guid", "carves", ["host_id", "carve_guid"], unique=True, schema="live_query")
    op.create_index(
        "carves_kept",
        "carves",
        ["host_id"],
        schema="live_query",
        postgresql_include=["carve_size"],
        postgresql_where=KEPT,
    )
    op.create_index("carves_expiring", "carves", ["expires_at"], schema="live_query", postgresql_where=KEPT)
    op.create_index(
        "carves_unswept",
        "carves",
        ["id"],
        schema="live_query",
        postgresql_where=sa.text("expired_at IS NOT NULL AND sweeps < 2"),
    )
    op.create_table(
        "carve_blocks",
        sa.Column("carve_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parts_stored", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("carve_id", "block_id"),
        schema="live_query",
    )
    op.create_index(
        "campaigns_carving", "campaigns", ["id"], schema="live_query", postgresql_where=sa.text("sql ~* 'carve'")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("campaigns_carving", "campaigns", schema="live_query")
    op.drop_table("carve_blocks", schema="live_query")
    op.drop_table("carves", schema="live_query")
