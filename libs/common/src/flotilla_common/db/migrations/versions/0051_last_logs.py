"""Hosts: when lines of one last came into custody.

Revision: 0051_last_logs
Revises: 0050_host_losses
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0051_last_logs"
down_revision = "0050_host_losses"
branch_labels = None
depends_on = None

SCHEMA = "inventory"


def upgrade() -> None:
    """Apply."""
    op.add_column("host_seen", sa.Column("logged_at", sa.DateTime(timezone=True), nullable=True), schema=SCHEMA)


def downgrade() -> None:
    """Take back."""
    op.drop_column("host_seen", "logged_at", schema=SCHEMA)
