"""Tables of config-merger.

Revision: 0003_config_merger
Revises: 0002_admin_api
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003_config_merger"
down_revision = "0002_admin_api"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("CREATE SCHEMA config_merger")
    op.create_table(
        "plans",
        sa.Column("class_key", sa.Text(), nullable=False),
        sa.Column("team_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("platform", sa.Text(), server_default="", nullable=False),
        sa.Column("scope_labels", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("config_sha256", sa.Text(), server_default="", nullable=False),
        sa.Column("config", sa.LargeBinary(), nullable=False),
        sa.Column(
            "provenance",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("compiled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("announced_revision", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("unused_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("class_key"),
        schema="config_merger",
    )
    op.create_index(op.f("ix_config_merger_plans_team_id"), "plans", ["team_id"], unique=False, schema="config_merger")


def downgrade() -> None:
    """Take back."""
    op.execute("DROP SCHEMA config_merger CASCADE")
