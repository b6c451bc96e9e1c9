"""A campaign remembers the request that started it, so that a repeat finds it.

Revision: 0007_campaign_requests
Revises: 0006_analytics
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007_campaign_requests"
down_revision = "0006_analytics"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("campaigns", sa.Column("request_id", sa.Uuid(), nullable=True), schema="live_query")
    op.add_column(
        "campaigns",
        sa.Column("counts", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        schema="live_query",
    )
    op.create_index("campaigns_request", "campaigns", ["request_id"], unique=True, schema="live_query")


def downgrade() -> None:
    """Take back."""
    op.drop_index("campaigns_request", table_name="campaigns", schema="live_query")
    op.drop_column("campaigns", "counts", schema="live_query")
    op.drop_column("campaigns", "request_id", schema="live_query")
