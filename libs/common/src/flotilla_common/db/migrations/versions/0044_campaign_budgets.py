"""What each campaign may cost at most, and has cost so far; live-query's outbox.

Revision: 0044_campaign_budgets
Revises: 0042_campaign_pauses
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044_campaign_budgets"
down_revision = "0042_campaign_pauses"
branch_labels = None
depends_on = None

LIMITS = ("max_rows", "max_bytes", "max_cpu_ms", "max_failures", "max_denylisted", "hosts_at_a_time")
SPENT = ("rows", "bytes", "cpu_ms", "failures", "denylisted")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "budgets",
        sa.Column("campaign_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=True) for name in LIMITS),
        *(sa.Column(name, sa.BigInteger(), server_default="0", autoincrement=False, nullable=False) for name in SPENT),
        sa.PrimaryKeyConstraint("campaign_id"),
        schema="live_query",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="live_query",
    )
    released = sa.Column("released_at", sa.DateTime(timezone=True), nullable=True)
    op.add_column("ledger", released, schema="live_query")
    op.create_index(
        "ledger_released",
        "ledger",
        ["campaign_id", "released_at"],
        schema="live_query",
        postgresql_where=sa.text("state = 'pending' AND released_at IS NOT NULL"),
    )
    # Those that run are counted from now on.
    op.execute("INSERT INTO live_query.budgets (campaign_id) SELECT id FROM live_query.campaigns WHERE status = 'open'")


def downgrade() -> None:
    """Take back."""
    op.drop_index("ledger_released", "ledger", schema="live_query")
    op.drop_column("ledger", "released_at", schema="live_query")
    op.drop_table("outbox", schema="live_query")
    op.drop_table("budgets", schema="live_query")
