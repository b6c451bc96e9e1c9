"""Which machine's orbit has a host's orbit key: machines with one identity are told apart by their orbits too.

Revision: 0031_orbit_identity
Revises: 0030_orbit
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031_orbit_identity"
down_revision = "0030_orbit"
branch_labels = None
depends_on = None

COLUMNS = ("orbit_serial", "orbit_address")


def upgrade() -> None:
    """Apply."""
    for name in COLUMNS:
        op.add_column("hosts", sa.Column(name, sa.Text(), server_default="", nullable=False), schema="inventory")


def downgrade() -> None:
    """Take back."""
    for name in COLUMNS:
        op.drop_column("hosts", name, schema="inventory")
