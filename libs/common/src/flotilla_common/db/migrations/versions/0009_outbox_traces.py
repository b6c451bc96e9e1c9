"""An event carries the trace of the request that caused it.

Revision: 0009_outbox_traces
Revises: 0008_large_sets_and_offers
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_outbox_traces"
down_revision = "0008_large_sets_and_offers"
branch_labels = None
depends_on = None

OWNERS = ("inventory", "admin_api")


def upgrade() -> None:
    """Apply."""
    for owner in OWNERS:
        op.add_column("outbox", sa.Column("trace", sa.Text(), nullable=True), schema=owner)


def downgrade() -> None:
    """Take back."""
    for owner in OWNERS:
        op.drop_column("outbox", "trace", schema=owner)
