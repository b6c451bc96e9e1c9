"""Tables of admin-api.

Revision: 0002_admin_api
Revises: 0001_inventory
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002_admin_api"
down_revision = "0001_inventory"
branch_labels = None
depends_on = None


BUILTIN_LABELS = (
    # id, name, description, query, platform, membership
    (1, "All Hosts", "All hosts which have enrolled", "select 1;", "", "dynamic"),
    (2, "macOS", "All macOS hosts", "select 1 from os_version where platform = 'darwin';", "darwin", "dynamic"),
    (3, "Ubuntu Linux", "All Ubuntu hosts", "select 1 from os_version where platform = 'ubuntu';", "", "dynamic"),
    (
        4,
        "CentOS Linux",
        "All CentOS hosts",
        "select 1 from os_version where platform = 'centos' or name like '%centos%';",
        "",
        "dynamic",
    ),
    (
        5,
        "MS Windows",
        "All Windows hosts",
        "select 1 from os_version where platform = 'windows';",
        "windows",
        "dynamic",
    ),
    (6, "Red Hat Linux", "All Red Hat hosts", "select 1 from os_version where name like '%red hat%';", "", "dynamic"),
    (
        7,
        "All Linux",
        "All Linux hosts",
        "select 1 from osquery_info where build_platform like '%linux%';",
        "",
        "dynamic",
    ),
    (8, "chrome", "All Chrome hosts", "select 1 from os_version where platform = 'chrome';", "chrome", "dynamic"),
    (
        9,
        "macOS 14+ (Sonoma+)",
        "macOS hosts with version 14 and above",
        "select 1 from os_version where platform = 'darwin' and major >= 14;",
        "darwin",
        "dynamic",
    ),
    (10, "iOS", "All iOS hosts", "", "", "manual"),
    (11, "iPadOS", "All iPadOS hosts", "", "", "manual"),
    (12, "Fedora Linux", "All Fedora hosts", "select 1 from os_version where name = 'Fedora Linux';", "", "dynamic"),
    (13, "Android", "All Android hosts", "", "", "manual"),
)
INSERT_LABEL = sa.text(
    "INSERT INTO admin_api.labels (id, name, description, query, platform, label_type, label_membership_type)"
    " VALUES (:id, :name, :description, :query, :platform, 'builtin', :membership)"
)


def upgrade() -> None:
    """Apply."""
    op.execute("CREATE SCHEMA admin_api")
    op.create_table(
        "activities",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("actor_full_name", sa.Text(), nullable=True),
        sa.Column("actor_email", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("fleet_initiated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("source_event_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source_event_id"),
        schema="admin_api",
    )
    op.create_index(
        op.f("ix_admin_api_activities_created_at"), "activities", ["created_at"], unique=False, schema="admin_api"
    )
    op.create_table(
        "app_config",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "document", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("agent_options", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="admin_api",
    )
    op.create_table(
        "enroll_secrets",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("team_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("lookup_hash", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("lookup_hash"),
        schema="admin_api",
    )
    op.create_index(
        op.f("ix_admin_api_enroll_secrets_team_id"), "enroll_secrets", ["team_id"], unique=False, schema="admin_api"
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("query", sa.Text(), server_default="", nullable=False),
        sa.Column("platform", sa.Text(), server_default="", nullable=False),
        sa.Column("label_type", sa.Text(), server_default="regular", nullable=False),
        sa.Column("label_membership_type", sa.Text(), server_default="dynamic", nullable=False),
        sa.Column("author_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="admin_api",
    )
    op.create_index("labels_name", "labels", [sa.literal_column("lower(name)")], unique=True, schema="admin_api")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="admin_api",
    )
    op.create_table(
        "queries",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("team_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("query", sa.Text(), server_default="", nullable=False),
        sa.Column("interval_seconds", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("platform", sa.Text(), server_default="", nullable=False),
        sa.Column("min_osquery_version", sa.Text(), server_default="", nullable=False),
        sa.Column("logging", sa.Text(), server_default="snapshot", nullable=False),
        sa.Column("automations_enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("observer_can_run", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("discard_data", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("saved", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("author_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("author_name", sa.Text(), server_default="", nullable=False),
        sa.Column("author_email", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="admin_api",
    )
    op.create_index(op.f("ix_admin_api_queries_team_id"), "queries", ["team_id"], unique=False, schema="admin_api")
    op.create_index(
        "queries_name",
        "queries",
        [sa.literal_column("coalesce(team_id, 0)"), sa.literal_column("lower(name)")],
        unique=True,
        schema="admin_api",
        postgresql_where=sa.text("saved"),
    )
    op.create_table(
        "query_labels",
        sa.Column("query_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("label_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("query_id", "label_id"),
        schema="admin_api",
    )
    op.create_index("query_labels_label", "query_labels", ["label_id"], unique=False, schema="admin_api")
    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("accessed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
        schema="admin_api",
    )
    op.create_index(op.f("ix_admin_api_sessions_user_id"), "sessions", ["user_id"], unique=False, schema="admin_api")
    op.create_table(
        "teams",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("agent_options", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("merge_mode", sa.Text(), server_default="replace", nullable=False),
        sa.Column(
            "document", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="admin_api",
    )
    op.create_index("teams_name", "teams", [sa.literal_column("lower(name)")], unique=True, schema="admin_api")
    op.create_table(
        "user_teams",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("team_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("user_id", "team_id"),
        schema="admin_api",
    )
    op.create_index("user_teams_team", "user_teams", ["team_id"], unique=False, schema="admin_api")
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("global_role", sa.Text(), nullable=True),
        sa.Column("position", sa.Text(), server_default="", nullable=False),
        sa.Column("gravatar_url", sa.Text(), server_default="", nullable=False),
        sa.Column("api_only", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sso_enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("mfa_enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("force_password_reset", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "settings", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="admin_api",
    )
    op.create_index("users_email", "users", [sa.literal_column("lower(email)")], unique=True, schema="admin_api")

    for label in BUILTIN_LABELS:
        values = dict(zip(("id", "name", "description", "query", "platform", "membership"), label, strict=True))
        op.execute(INSERT_LABEL.bindparams(**values))
    op.execute("SELECT setval('admin_api.labels_id_seq', 100, false)")


def downgrade() -> None:
    """Take back."""
    op.execute("DROP SCHEMA admin_api CASCADE")
