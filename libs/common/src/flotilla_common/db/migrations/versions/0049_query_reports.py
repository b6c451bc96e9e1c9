"""Query reports: the latest rows of each host and query, when they came, and what may be known of queries for that.

Revision: 0049_query_reports
Revises: 0048_log_custody
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0049_query_reports"
down_revision = "0048_log_custody"
branch_labels = None
depends_on = None

SCHEMA = "log_shipper"
DISABLED = "(document #>> '{server_settings,query_reports_disabled}') IS NOT DISTINCT FROM 'true'"
CAP = (
    "CASE jsonb_typeof(document #> '{server_settings,query_report_cap}') WHEN 'number' THEN"
    " least(greatest((document #>> '{server_settings,query_report_cap}')::numeric, 0), 1000000)::bigint ELSE 0 END"
)


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    op.add_column(
        "queries",
        sa.Column("results_since", moment, server_default=sa.text("now()"), nullable=False),
        schema="admin_api",
    )
    disabled: sa.Column[bool] = sa.Column(
        "query_reports_disabled", sa.Boolean(), sa.Computed(DISABLED, persisted=True), nullable=False
    )
    cap: sa.Column[int] = sa.Column(
        "query_report_cap", sa.BigInteger(), sa.Computed(CAP, persisted=True), nullable=False
    )
    op.add_column("app_config", disabled, schema="admin_api")
    op.add_column("app_config", cap, schema="admin_api")
    op.create_table(
        "report_cursor",
        _bigint("id"),
        _bigint("cursor_sequence", "0"),
        sa.Column("stream_created_at", moment, nullable=True),
        sa.Column("updated_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema=SCHEMA,
    )
    op.create_table(
        "reported_queries",
        _bigint("query_id"),
        sa.Column("results_since", moment, nullable=False),
        sa.PrimaryKeyConstraint("query_id"),
        schema=SCHEMA,
    )
    _create_reports()


def _create_reports() -> None:
    op.create_table(
        "query_reports",
        *map(_bigint, ("query_id", "host_id", "row_count")),
        sa.Column("is_clipped", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", "host_id"),
        schema=SCHEMA,
    )
    op.create_index("query_reports_host", "query_reports", ["host_id"], schema=SCHEMA)
    op.create_table(
        "query_report_times",
        *map(_bigint, ("query_id", "block")),
        sa.Column("times", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", "block"),
        schema=SCHEMA,
    )
    op.create_index("query_report_times_block", "query_report_times", ["block"], schema=SCHEMA)
    # Its rows change in place all the time: room for the next version on the same page spares the indexes.
    op.execute("ALTER TABLE log_shipper.query_report_times SET (fillfactor = 50)")


def _bigint(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, server_default=default, nullable=False)


def downgrade() -> None:
    """Take back."""
    for table in ("query_report_times", "query_reports", "reported_queries", "report_cursor"):
        op.drop_table(table, schema=SCHEMA)
    op.drop_column("app_config", "query_report_cap", schema="admin_api")
    op.drop_column("app_config", "query_reports_disabled", schema="admin_api")
    op.drop_column("queries", "results_since", schema="admin_api")
