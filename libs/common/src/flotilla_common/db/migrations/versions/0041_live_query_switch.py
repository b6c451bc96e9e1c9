"""Whether live queries are turned off, as a column that live-query may read.

Revision: 0041_live_query_switch
Revises: 0040_carves
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041_live_query_switch"
down_revision = "0040_carves"
branch_labels = None
depends_on = None

SAYS_SO = "(document #>> '{server_settings,live_query_disabled}') IS NOT DISTINCT FROM 'true'"


def upgrade() -> None:
    """Apply."""
    column: sa.Column[bool] = sa.Column(
        "live_query_disabled", sa.Boolean(), sa.Computed(SAYS_SO, persisted=True), nullable=False
    )
    op.add_column("app_config", column, schema="admin_api")


def downgrade() -> None:
    """Take back."""
    op.drop_column("app_config", "live_query_disabled", schema="admin_api")
