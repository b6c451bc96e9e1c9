"""Limits of enroll secrets and their use; machines that share an identity.

Revision: 0020_enrollment
Revises: 0009_outbox_traces
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020_enrollment"
down_revision = "0009_outbox_traces"
branch_labels = None
depends_on = None

HOST_COLUMNS = ("enroll_secret_id", "enroll_digest", "boot_id", "identity_shared")
SECRET_COLUMNS = ("expires_at", "max_uses", "allowed_networks")


def upgrade() -> None:
    """Apply."""
    secret_columns: tuple[sa.Column[Any], ...] = (
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_uses", sa.BigInteger(), nullable=True),
        sa.Column("allowed_networks", postgresql.JSONB(), server_default="[]", nullable=False),
    )
    for column in secret_columns:
        op.add_column("enroll_secrets", column, schema="admin_api")
    host_columns: tuple[sa.Column[Any], ...] = (
        sa.Column("enroll_secret_id", sa.BigInteger(), nullable=True),
        sa.Column("enroll_digest", sa.LargeBinary(), nullable=True),
        sa.Column("boot_id", sa.Text(), server_default="", nullable=False),
        sa.Column("identity_shared", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    for column in host_columns:
        op.add_column("hosts", column, schema="inventory")
    _create_use_of_secrets()
    _create_identity_claims()


def _create_use_of_secrets() -> None:
    op.create_table(
        "enroll_secret_uses",
        sa.Column("secret_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("uses", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("secret_id"),
        schema="inventory",
    )
    op.create_table(
        "enroll_refusals",
        sa.Column("secret_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("secret_id", "reason"),
        schema="inventory",
    )


def _create_identity_claims() -> None:
    op.create_table(
        "identity_claims",
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("first_enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("returns", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("apart", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("serial", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("host_id", "fingerprint"),
        schema="inventory",
    )
    op.create_index("identity_claims_last", "identity_claims", ["last_enrolled_at"], unique=False, schema="inventory")


def downgrade() -> None:
    """Take back."""
    for table in ("identity_claims", "enroll_refusals", "enroll_secret_uses"):
        op.drop_table(table, schema="inventory")
    for name in HOST_COLUMNS:
        op.drop_column("hosts", name, schema="inventory")
    for name in SECRET_COLUMNS:
        op.drop_column("enroll_secrets", name, schema="admin_api")
