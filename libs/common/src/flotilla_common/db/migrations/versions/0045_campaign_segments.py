"""Answers of campaigns that moved from Redis to the blob store.

Revision: 0045_campaign_segments
Revises: 0044_campaign_budgets
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045_campaign_segments"
down_revision = "0044_campaign_budgets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "campaign_segments",
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("object_name", sa.Text(), server_default="", nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)
            for name in (
                "first_ms",
                "first_number",
                "last_ms",
                "last_number",
                "answers",
                "with_rows",
                "without_rows",
                "rows",
                "size",
                "stored_size",
            )
        ),
        sa.Column("hosts", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number"),
        schema="live_query",
    )
    for name in ("archived_at", "results_removed_at"):
        op.add_column("campaigns", sa.Column(name, sa.DateTime(timezone=True), nullable=True), schema="live_query")
    op.create_index(
        "campaigns_unarchived",
        "campaigns",
        ["cleared_at"],
        schema="live_query",
        postgresql_where=sa.text("archived_at IS NULL AND cleared_at IS NOT NULL"),
    )
    op.create_index(
        "campaigns_archived",
        "campaigns",
        ["ended_at"],
        schema="live_query",
        postgresql_where=sa.text("archived_at IS NOT NULL AND results_removed_at IS NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("campaigns_archived", "campaigns", schema="live_query")
    op.drop_index("campaigns_unarchived", "campaigns", schema="live_query")
    op.drop_column("campaigns", "results_removed_at", schema="live_query")
    op.drop_column("campaigns", "archived_at", schema="live_query")
    op.drop_table("campaign_segments", schema="live_query")
