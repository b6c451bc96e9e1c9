"""Orbit: a second key of each host, device tokens, and what orbit and the desktop of a class get.

Revision: 0030_orbit
Revises: 0020_enrollment
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0030_orbit"
down_revision = "0020_enrollment"
branch_labels = None
depends_on = None

HOST_COLUMNS = ("use_left_for", "orbit_digest", "orbit_secret_id", "orbit_enrolled_at", "orbit_key_hash")


def upgrade() -> None:
    """Apply."""
    host_columns: tuple[sa.Column[Any], ...] = (
        sa.Column("orbit_key_hash", sa.LargeBinary(), nullable=True),
        sa.Column("orbit_enrolled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("orbit_secret_id", sa.BigInteger(), nullable=True),
        sa.Column("orbit_digest", sa.LargeBinary(), nullable=True),
        sa.Column("use_left_for", sa.Text(), server_default="", nullable=False),
    )
    for column in host_columns:
        op.add_column("hosts", column, schema="inventory")
    op.create_unique_constraint("hosts_orbit_key_hash_key", "hosts", ["orbit_key_hash"], schema="inventory")
    op.create_table(
        "device_tokens",
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("host_id"),
        sa.UniqueConstraint("token_hash"),
        schema="inventory",
    )
    op.add_column(
        "plans", sa.Column("orbit_sha256", sa.Text(), server_default="", nullable=False), schema="config_merger"
    )
    op.add_column("plans", sa.Column("orbit", sa.LargeBinary(), nullable=True), schema="config_merger")


def downgrade() -> None:
    """Take back."""
    op.drop_column("plans", "orbit", schema="config_merger")
    op.drop_column("plans", "orbit_sha256", schema="config_merger")
    op.drop_table("device_tokens", schema="inventory")
    op.drop_constraint("hosts_orbit_key_hash_key", "hosts", schema="inventory")
    for name in HOST_COLUMNS:
        op.drop_column("hosts", name, schema="inventory")
