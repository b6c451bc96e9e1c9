"""Campaigns whose targets are in the object store; hosts that were offered a query and did not answer yet.

Revision: 0008_large_sets_and_offers
Revises: 0007_campaign_requests
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_large_sets_and_offers"
down_revision = "0007_campaign_requests"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "campaigns", sa.Column("targets_hash", sa.Text(), server_default="", nullable=False), schema="live_query"
    )
    op.add_column("ledger", sa.Column("offered_at", sa.DateTime(timezone=True), nullable=True), schema="live_query")


def downgrade() -> None:
    """Take back."""
    op.drop_column("ledger", "offered_at", schema="live_query")
    op.drop_column("campaigns", "targets_hash", schema="live_query")
