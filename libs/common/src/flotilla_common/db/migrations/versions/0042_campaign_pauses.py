"""Since when a campaign is paused, and why.

Revision: 0042_campaign_pauses
Revises: 0041_live_query_switch
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0042_campaign_pauses"
down_revision = "0041_live_query_switch"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("campaigns", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True), schema="live_query")
    op.add_column("campaigns", sa.Column("pause_reason", sa.Text(), nullable=True), schema="live_query")


def downgrade() -> None:
    """Take back."""
    op.drop_column("campaigns", "pause_reason", schema="live_query")
    op.drop_column("campaigns", "paused_at", schema="live_query")
