"""Campaigns that gateways are told of before their ledger is written.

Revision: 0046_campaign_openings
Revises: 0045_campaign_segments
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0046_campaign_openings"
down_revision = "0045_campaign_segments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "openings",
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.Column("counts", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id"),
        schema="live_query",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("openings", schema="live_query")
