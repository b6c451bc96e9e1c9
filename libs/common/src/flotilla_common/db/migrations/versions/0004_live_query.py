"""Tables of live-query.

Revision: 0004_live_query
Revises: 0003_config_merger
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004_live_query"
down_revision = "0003_config_merger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("CREATE SCHEMA live_query")
    op.create_table(
        "campaigns",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("sql", sa.Text(), server_default="", nullable=False),
        sa.Column("query_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), server_default="viewer", nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), server_default="", nullable=False),
        sa.Column("allowed_team_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("target_count", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_viewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="live_query",
    )
    op.create_index(
        "campaigns_open",
        "campaigns",
        ["deadline"],
        unique=False,
        schema="live_query",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(
        "campaigns_uncleared",
        "campaigns",
        ["id"],
        unique=False,
        schema="live_query",
        postgresql_where=sa.text("status = 'complete' AND cleared_at IS NULL"),
    )
    op.create_table(
        "ledger",
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("row_count", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("truncated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("stats", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("campaign_id", "host_id"),
        schema="live_query",
    )
    op.create_index("ledger_state", "ledger", ["campaign_id", "state"], unique=False, schema="live_query")
    op.create_index(
        "ledger_settled",
        "ledger",
        ["campaign_id", "settled_at"],
        unique=False,
        schema="live_query",
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.execute("DROP SCHEMA live_query CASCADE")
