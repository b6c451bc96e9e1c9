"""Logs: parts of the stream in the blob store, dead letters that can be replayed, replays.

Revision: 0048_log_custody
Revises: 0047_log_destinations
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0048_log_custody"
down_revision = "0047_log_destinations"
branch_labels = None
depends_on = None

SCHEMA = "log_shipper"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "destinations", sa.Column("counted_from", sa.BigInteger(), server_default="0", nullable=False), schema=SCHEMA
    )
    for table in ("destinations", "intake"):
        op.add_column(table, _moment("cursor_stored_at", nullable=True), schema=SCHEMA)
    for column in (
        sa.Column("source", sa.Text(), server_default="live", nullable=False),
        sa.Column("replay_id", sa.BigInteger(), nullable=True),
        sa.Column("letters", postgresql.JSONB(), server_default="[]", nullable=False),
    ):
        op.add_column("batches", column, schema=SCHEMA)
    op.drop_index("batches_destination", "batches", schema=SCHEMA)
    op.create_index("batches_destination", "batches", ["destination", "first_sequence"], schema=SCHEMA)
    op.create_index(
        "batches_unsettled",
        "batches",
        ["destination"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    _create_segments()
    _create_dead_letters()
    _create_replays()


def _bigint(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, server_default=default, nullable=False)


def _moment(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[datetime]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _list(name: str) -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB(), server_default="[]", nullable=False)


def _create_segments() -> None:
    op.create_table(
        "segments",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        *map(_bigint, ("first_sequence", "last_sequence", "messages", "raw_bytes", "object_bytes")),
        *map(_moment, ("stream_created_at", "first_stored_at", "last_stored_at")),
        _list("totals"),
        sa.Column("index", sa.LargeBinary(), nullable=False),
        _text("object_name"),
        _moment("created_at", now=True),
        _moment("removing_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema=SCHEMA,
    )
    op.create_index(
        "segments_range",
        "segments",
        ["stream_created_at", "last_sequence"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("removing_at IS NULL"),
    )


def _create_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        *map(_text, ("destination", "log_type", "reason")),
        _moment("hour"),
        *map(_bigint, ("sequence", "lines", "size_bytes")),
        sa.Column("is_readable", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        _list("dead_sequences"),
        _moment("created_at", now=True),
        _moment("replay_asked_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema=SCHEMA,
    )
    op.create_index("dead_letters_destination", "dead_letters", ["destination", "id"], schema=SCHEMA)


def _create_replays() -> None:
    op.create_table(
        "replays",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        _text("destination"),
        *map(_bigint, ("first_sequence", "last_sequence", "cursor_sequence")),
        _bigint("lines", "0"),
        _moment("created_at", now=True),
        _moment("ended_at", nullable=True),
        sa.Column("is_cancelled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema=SCHEMA,
    )
    op.create_index("replays_destination", "replays", ["destination", "id"], schema=SCHEMA)


def downgrade() -> None:
    """Take back."""
    for table in ("replays", "dead_letters", "segments"):
        op.drop_table(table, schema=SCHEMA)
    op.drop_index("batches_unsettled", "batches", schema=SCHEMA)
    op.drop_index("batches_destination", "batches", schema=SCHEMA)
    for name in ("letters", "replay_id", "source"):
        op.drop_column("batches", name, schema=SCHEMA)
    op.create_index("batches_destination", "batches", ["destination", "first_sequence"], unique=True, schema=SCHEMA)
    for table in ("destinations", "intake"):
        op.drop_column(table, "cursor_stored_at", schema=SCHEMA)
    op.drop_column("destinations", "counted_from", schema=SCHEMA)
