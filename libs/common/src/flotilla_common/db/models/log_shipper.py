"""Schema log_shipper: destinations, batches, the ledger, parts of the stream, dead letters, replays, query reports.

Written by log-shipper alone; admin-api reads the reports.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Text
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import bigint, binary, flag, identity, json_document, text, timestamp

SCHEMA = "log_shipper"


class Intake(SQLModel, table=True):
    """One row: up to which sequence of which stream received lines have been added to the ledger.

    `cursor_stored_at`: when that message was stored, so that another one under its number is told apart.
    """

    __tablename__ = "intake"
    __table_args__ = {"schema": SCHEMA}

    id: int = Field(default=1, sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    cursor_sequence: int = bigint(default=0)
    cursor_stored_at: datetime | None = timestamp(nullable=True)
    stream_created_at: datetime | None = timestamp(nullable=True)
    updated_at: datetime = timestamp(now=True)


class Destination(SQLModel, table=True):
    """A place that lines go to. `cursor_sequence`: the last sequence of the stream that is settled for it.

    `spec` is a `contracts.log_destinations.Destination` without secrets; `secrets` holds those of one that the API
    made, encrypted. `declared_at`: when a replica last found it in its environment or file. What was taken away keeps
    its row, since its books stay: nothing after `until_sequence` is for it. The intake has not counted messages up to
    `counted_from`: those of them that are for it count as received when they are settled. `cursor_stored_at`: when the
    message at the cursor was stored, so that another one under its number is told apart.
    """

    __tablename__ = "destinations"
    __table_args__ = {"schema": SCHEMA}

    name: str = Field(sa_column=Column(Text, primary_key=True))
    cursor_sequence: int = bigint(default=0)
    cursor_stored_at: datetime | None = timestamp(nullable=True)
    stream_created_at: datetime | None = timestamp(nullable=True)
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)
    kind: str = text()
    origin: str = text("environment")
    spec: dict[str, Any] = json_document()
    secrets: bytes | None = binary(nullable=True)
    revision: int = bigint(default=1)
    declared_at: datetime | None = timestamp(nullable=True)
    paused_at: datetime | None = timestamp(nullable=True)
    until_sequence: int | None = bigint(nullable=True)
    counted_from: int = bigint(default=0)
    failing_since: datetime | None = timestamp(nullable=True)
    last_error: str = text()


class Batch(SQLModel, table=True):
    """An exact range of the stream that was cut for a destination. A retry delivers exactly this range again.

    `target` is what the destination said before the first try about where the batch goes (file offsets, object name).
    `source` says what the range is of: `live`, lines that it has not had; `replay`, lines that `replay_id` wants once
    more; `dead`, the dead letters with the ids in `letters`. At most one of a destination is not settled.
    """

    __tablename__ = "batches"
    __table_args__ = (
        Index("batches_destination", "destination", "first_sequence"),
        Index("batches_unsettled", "destination", unique=True, postgresql_where=sql("delivered_at IS NULL")),
        {"schema": SCHEMA},
    )

    id: int | None = identity()
    destination: str = text()
    first_sequence: int = bigint()
    last_sequence: int = bigint()
    lines: int = bigint(default=0)
    target: dict[str, Any] = json_document()
    attempts: int = bigint(default=0)
    source: str = text("live")
    replay_id: int | None = bigint(nullable=True)
    letters: list[int] = json_document(default="[]")
    created_at: datetime = timestamp(now=True)
    delivered_at: datetime | None = timestamp(nullable=True)


class LedgerHour(SQLModel, table=True):
    """Lines per destination, log type and hour (UTC) of custody.

    received = filtered + delivered + dead_lettered + pending. `received` is counted from message headers up to the
    intake's cursor, the others from bodies up to the destination's cursor. `duplicates` stand beside: lines delivered
    once more than needed, or perhaps so.
    """

    __tablename__ = "ledger"
    __table_args__ = {"schema": SCHEMA}

    destination: str = Field(sa_column=Column(Text, primary_key=True))
    log_type: str = Field(sa_column=Column(Text, primary_key=True))
    hour: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    received: int = bigint(default=0)
    filtered: int = bigint(default=0)
    delivered: int = bigint(default=0)
    dead_lettered: int = bigint(default=0)
    duplicates: int = bigint(default=0)


class Segment(SQLModel, table=True):
    """A range of the stream's messages in the blob store, complete and in order; ranges do not overlap.

    `index` says of each message where it stands in the object and what its headers said; `totals` are
    [log type, hour (Unix time, s), lines], so that the ledger need not read that. A row counts while `removing_at` is
    null: not before its object is stored, nor once that may go.
    """

    __tablename__ = "segments"
    __table_args__ = (
        Index(
            "segments_range",
            "stream_created_at",
            "last_sequence",
            unique=True,
            postgresql_where=sql("removing_at IS NULL"),
        ),
        {"schema": SCHEMA},
    )

    id: int | None = identity()
    first_sequence: int = bigint()
    last_sequence: int = bigint()
    stream_created_at: datetime = timestamp()
    messages: int = bigint()
    raw_bytes: int = bigint()
    first_stored_at: datetime = timestamp()
    last_stored_at: datetime = timestamp()
    totals: list[Any] = json_document(default="[]")
    index: bytes = binary()
    object_name: str = text()
    object_bytes: int = bigint()
    created_at: datetime = timestamp(now=True)
    removing_at: datetime | None = timestamp(nullable=True)


class DeadLetter(SQLModel, table=True):
    """Lines of one message that a destination will never take, for one reason, or a message that nobody can read.

    The lines are in stream DEAD, in the messages `dead_sequences`. `replay_asked_at`: they are to be tried once more.
    """

    __tablename__ = "dead_letters"
    __table_args__ = (Index("dead_letters_destination", "destination", "id"), {"schema": SCHEMA})

    id: int | None = identity()
    destination: str = text()
    log_type: str = text()
    hour: datetime = timestamp()
    sequence: int = bigint()
    lines: int = bigint()
    size_bytes: int = bigint()
    reason: str = text()
    is_readable: bool = flag(default=True)
    dead_sequences: list[int] = json_document(default="[]")
    created_at: datetime = timestamp(now=True)
    replay_asked_at: datetime | None = timestamp(nullable=True)


class Replay(SQLModel, table=True):
    """A range of the stream that a destination is to get once more; `cursor_sequence`: how far that is done."""

    __tablename__ = "replays"
    __table_args__ = (Index("replays_destination", "destination", "id"), {"schema": SCHEMA})

    id: int | None = identity()
    destination: str = text()
    first_sequence: int = bigint()
    last_sequence: int = bigint()
    cursor_sequence: int = bigint()
    lines: int = bigint(default=0)
    created_at: datetime = timestamp(now=True)
    ended_at: datetime | None = timestamp(nullable=True)
    is_cancelled: bool = flag(default=False)


class ReportCursor(SQLModel, table=True):
    """One row: up to which sequence of which stream result lines have gone into query reports."""

    __tablename__ = "report_cursor"
    __table_args__ = {"schema": SCHEMA}

    id: int = Field(default=1, sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    cursor_sequence: int = bigint(default=0)
    stream_created_at: datetime | None = timestamp(nullable=True)
    updated_at: datetime = timestamp(now=True)


class Reader(SQLModel, table=True):
    """Who reads the stream beside destinations and the intake, and the last sequence that it is done with."""

    __tablename__ = "readers"
    __table_args__ = {"schema": SCHEMA}

    name: str = Field(sa_column=Column(Text, primary_key=True))
    cursor_sequence: int = bigint(default=0)
    stream_created_at: datetime | None = timestamp(nullable=True)
    updated_at: datetime = timestamp(now=True)


class ReportedQuery(SQLModel, table=True):
    """A query that has results. What is stored counts if `results_since` is what the query itself says of it."""

    __tablename__ = "reported_queries"
    __table_args__ = {"schema": SCHEMA}

    query_id: int = bigint(primary_key=True)
    results_since: datetime = timestamp()


class QueryReport(SQLModel, table=True):
    """The rows of a host's latest result of a query, while there are any. Written when they change, and only then.

    `rows` is a JSON array of objects whose members are strings. `is_clipped`: the host sent more. `digest` is of the
    rows, whatever their order, and of `is_clipped`.
    """

    __tablename__ = "query_reports"
    __table_args__ = (Index("query_reports_host", "host_id"), {"schema": SCHEMA})

    query_id: int = bigint(primary_key=True)
    host_id: int = bigint(primary_key=True)
    row_count: int = bigint()
    is_clipped: bool = flag()
    digest: bytes = binary()
    rows: bytes = binary()


class QueryReportTimes(SQLModel, table=True):
    """When the hosts of a block (`contracts.query_reports`) sent their latest results of a query, changed or not."""

    __tablename__ = "query_report_times"
    __table_args__ = (Index("query_report_times_block", "block"), {"schema": SCHEMA})

    query_id: int = bigint(primary_key=True)
    block: int = bigint(primary_key=True)
    times: bytes = binary()


class HostLoss(SQLModel, table=True):
    """Lines that a host says it threw away, a lower bound, and how many of its status lines said so.

    `kind`: `purged`, the oldest of a full buffer; `oversize`, too long to be sent. `marks`: what was said lately, as
    [text, Unix time], so that what a host says twice counts once.
    """

    __tablename__ = "host_losses"
    __table_args__ = {"schema": SCHEMA}

    host_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    kind: str = Field(sa_column=Column(Text, primary_key=True))
    lines: int = bigint(default=0)
    warnings: int = bigint(default=0)
    marks: list[Any] = json_document(default="[]")
    first_at: datetime = timestamp(now=True)
    last_at: datetime = timestamp(now=True)
