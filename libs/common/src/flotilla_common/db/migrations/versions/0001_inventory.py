"""Tables of inventory.

Revision: 0001_inventory
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_inventory"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("CREATE SCHEMA inventory")
    op.execute("CREATE SEQUENCE inventory.host_revision")
    op.create_table(
        "host_seen",
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("host_id"),
        schema="inventory",
    )
    op.create_index(op.f("ix_inventory_host_seen_seen_at"), "host_seen", ["seen_at"], unique=False, schema="inventory")
    op.create_table(
        "hosts",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host_identifier", sa.Text(), server_default="", nullable=False),
        sa.Column("node_key_hash", sa.LargeBinary(), nullable=True),
        sa.Column("team_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("platform", sa.Text(), server_default="", nullable=False),
        sa.Column("platform_like", sa.Text(), server_default="", nullable=False),
        sa.Column("hostname", sa.Text(), server_default="", nullable=False),
        sa.Column("computer_name", sa.Text(), server_default="", nullable=False),
        sa.Column("uuid", sa.Text(), server_default="", nullable=False),
        sa.Column("instance_id", sa.Text(), server_default="", nullable=False),
        sa.Column("hardware_serial", sa.Text(), server_default="", nullable=False),
        sa.Column("hardware_vendor", sa.Text(), server_default="", nullable=False),
        sa.Column("hardware_model", sa.Text(), server_default="", nullable=False),
        sa.Column("hardware_version", sa.Text(), server_default="", nullable=False),
        sa.Column("osquery_version", sa.Text(), server_default="", nullable=False),
        sa.Column("os_version", sa.Text(), server_default="", nullable=False),
        sa.Column("os_name", sa.Text(), server_default="", nullable=False),
        sa.Column("os_major", sa.Text(), server_default="", nullable=False),
        sa.Column("build", sa.Text(), server_default="", nullable=False),
        sa.Column("code_name", sa.Text(), server_default="", nullable=False),
        sa.Column("cpu_type", sa.Text(), server_default="", nullable=False),
        sa.Column("cpu_subtype", sa.Text(), server_default="", nullable=False),
        sa.Column("cpu_brand", sa.Text(), server_default="", nullable=False),
        sa.Column("cpu_physical_cores", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("cpu_logical_cores", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("public_ip", sa.Text(), server_default="", nullable=False),
        sa.Column("primary_ip", sa.Text(), server_default="", nullable=False),
        sa.Column("primary_mac", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "distributed_interval_seconds", sa.BigInteger(), server_default="10", autoincrement=False, nullable=False
        ),
        sa.Column("config_refresh_seconds", sa.BigInteger(), server_default="60", autoincrement=False, nullable=False),
        sa.Column(
            "logger_tls_period_seconds", sa.BigInteger(), server_default="10", autoincrement=False, nullable=False
        ),
        sa.Column("refetch_requested", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("last_enrolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("label_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("node_key_hash"),
        schema="inventory",
    )
    op.create_index("hosts_hostname", "hosts", [sa.literal_column("lower(hostname)")], unique=False, schema="inventory")
    op.create_index(
        "hosts_identifier", "hosts", [sa.literal_column("lower(host_identifier)")], unique=True, schema="inventory"
    )
    op.create_index(
        "hosts_serial", "hosts", [sa.literal_column("lower(hardware_serial)")], unique=False, schema="inventory"
    )
    op.create_index("hosts_uuid", "hosts", [sa.literal_column("lower(uuid)")], unique=False, schema="inventory")
    op.create_index(op.f("ix_inventory_hosts_team_id"), "hosts", ["team_id"], unique=False, schema="inventory")
    op.create_table(
        "label_membership",
        sa.Column("label_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("host_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("label_id", "host_id"),
        schema="inventory",
    )
    op.create_index("label_membership_host", "label_membership", ["host_id"], unique=False, schema="inventory")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="inventory",
    )
    op.create_table(
        "scope_labels",
        sa.Column("label_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("label_id"),
        schema="inventory",
    )
    op.create_table(
        "scope_state",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="inventory",
    )


def downgrade() -> None:
    """Take back."""
    op.execute("DROP SCHEMA inventory CASCADE")
