"""Schema live_query: campaigns, their ledgers, carves. Written by live-query alone; read by admin-api and analytics."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import (
    OutboxRow,
    bigint,
    binary,
    identity,
    json_document,
    nullable_text,
    text,
    timestamp,
)

SCHEMA = "live_query"


class Campaign(SQLModel, table=True):
    """One live query run. `status`: `open` or `complete`; `kind` as in `contracts.campaigns`.

    `deadline` moves while a viewer campaign is watched. `end_reason` is set when the end is decided, `ended_at` when
    the ledger has followed, `cleared_at` when gateways and viewers have been told. `request_id` and `counts` answer a
    repeat of the request that started it. `targets_hash` names the object with the targets, when they are many.
    `paused_at` is set while nobody is asked, and `pause_reason` says why. `archived_at`: no answer is in Redis alone,
    all are in segments; `results_removed_at`: those are gone, or going.
    """

    __tablename__ = "campaigns"
    __table_args__ = (
        Index("campaigns_open", "deadline", postgresql_where=sql("status = 'open'")),
        Index("campaigns_request", "request_id", unique=True),
        Index("campaigns_uncleared", "id", postgresql_where=sql("status = 'complete' AND cleared_at IS NULL")),
        Index("campaigns_carving", "id", postgresql_where=sql("sql ~* 'carve'")),
        Index(
            "campaigns_unarchived",
            "cleared_at",
            postgresql_where=sql("archived_at IS NULL AND cleared_at IS NOT NULL"),
        ),
        Index(
            "campaigns_archived",
            "ended_at",
            postgresql_where=sql("archived_at IS NOT NULL AND results_removed_at IS NULL"),
        ),
        {"schema": SCHEMA},
    )

    id: int | None = identity()
    sql: str = text()
    query_id: int | None = bigint(nullable=True)
    user_id: int = bigint()
    kind: str = text("viewer")
    status: str = text("open")
    end_reason: str | None = nullable_text()
    trace_id: str = text()
    allowed_team_ids: list[int] | None = Field(default=None, sa_column=Column(ARRAY(BigInteger), nullable=True))
    target_count: int = bigint(default=0)
    command: bytes = binary()
    created_at: datetime = timestamp(now=True)
    deadline: datetime = timestamp()
    last_viewed_at: datetime | None = timestamp(nullable=True)
    ended_at: datetime | None = timestamp(nullable=True)
    cleared_at: datetime | None = timestamp(nullable=True)
    request_id: UUID | None = Field(default=None)
    counts: dict[str, int] | None = json_document(nullable=True)
    targets_hash: str = text()
    paused_at: datetime | None = timestamp(nullable=True)
    pause_reason: str | None = nullable_text()
    archived_at: datetime | None = timestamp(nullable=True)
    results_removed_at: datetime | None = timestamp(nullable=True)


class Opening(SQLModel, table=True):
    """A campaign that gateways may know of already, while its ledger is being written; it is none for anybody else.

    What it takes to finish it: the `request` without its selection, in JSON, the signed `command` with the targets,
    and their `counts`. The row goes in the transaction that writes campaign and ledger.
    """

    __tablename__ = "openings"
    __table_args__ = {"schema": SCHEMA}

    campaign_id: int = bigint(primary_key=True)
    request_id: UUID | None = Field(default=None)
    request: dict[str, Any] = json_document(default=None)
    command: bytes = binary()
    counts: dict[str, int] = json_document(default=None)
    created_at: datetime = timestamp()


class CampaignSegment(SQLModel, table=True):
    """Answers of a campaign that are in the blob store, from one position of its stream to another, both included.

    Segments of a campaign have numbers from 0 and follow one another without a gap. `object_name` is the Parquet file
    (`campaign_archive`). `with_rows` and `without_rows` count answers without an error; `rows` are all rows; `size`
    is about their bytes before compression; `hosts` is the roaring bitmap of who answers.
    """

    __tablename__ = "campaign_segments"
    __table_args__ = {"schema": SCHEMA}

    campaign_id: int = bigint(primary_key=True)
    number: int = bigint(primary_key=True)
    object_name: str = text()
    first_ms: int = bigint()
    first_number: int = bigint()
    last_ms: int = bigint()
    last_number: int = bigint()
    answers: int = bigint()
    with_rows: int = bigint()
    without_rows: int = bigint()
    rows: int = bigint()
    size: int = bigint()
    stored_size: int = bigint()
    hosts: bytes = binary()
    created_at: datetime = timestamp(now=True)


class CampaignBudget(SQLModel, table=True):
    """What a campaign may cost (null: without limit) and has cost, as `contracts.campaigns.Budget` counts it."""

    __tablename__ = "budgets"
    __table_args__ = {"schema": SCHEMA}

    campaign_id: int = bigint(primary_key=True)
    max_rows: int | None = bigint(nullable=True)
    max_bytes: int | None = bigint(nullable=True)
    max_cpu_ms: int | None = bigint(nullable=True)
    max_failures: int | None = bigint(nullable=True)
    max_denylisted: int | None = bigint(nullable=True)
    hosts_at_a_time: int | None = bigint(nullable=True)
    rows: int = bigint(default=0)
    bytes: int = bigint(default=0)
    cpu_ms: int = bigint(default=0)
    failures: int = bigint(default=0)
    denylisted: int = bigint(default=0)


class LedgerRow(SQLModel, table=True):
    """One host of one campaign, in exactly one state.

    `state`: pending, answered, failed, denylisted, expired, cancelled or unreachable. The only transitions are those
    from pending, each by one statement. `settled_at` is null while pending. `offered_at` is a detail of pending: when
    it became known that the host has taken the query and not answered; hosts that answer at once have none.
    `released_at`: since when it may be asked by a campaign that asks so many hosts at a time.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        Index("ledger_state", "campaign_id", "state"),
        Index(
            "ledger_released",
            "campaign_id",
            "released_at",
            postgresql_where=sql("state = 'pending' AND released_at IS NOT NULL"),
        ),
        Index("ledger_settled", "campaign_id", "settled_at", postgresql_where=sql("settled_at IS NOT NULL")),
        {"schema": SCHEMA},
    )

    campaign_id: int = bigint(primary_key=True)
    host_id: int = bigint(primary_key=True)
    state: str = text("pending")
    row_count: int = bigint(default=0)
    truncated: bool = Field(default=False, sa_column_kwargs={"server_default": sql("false")})
    error: str | None = nullable_text()
    stats: dict[str, Any] | None = json_document(nullable=True)
    settled_at: datetime | None = timestamp(nullable=True)
    offered_at: datetime | None = timestamp(nullable=True)
    released_at: datetime | None = timestamp(nullable=True)


class Carve(SQLModel, table=True):
    """A file that a host sends. `carve_guid` and `request_id` are the host's, hostile text like `name`; sizes in bytes.

    `campaign_id` is null when no campaign asked for it. `max_block` is the last block before the first one that is
    missing, -1 without any. `format`: `tar` or `zstd` (tar within), empty until the first block tells. `expired_at`:
    the contents are gone, or going; `sweeps`: how often they were deleted since, the second time for what came late.
    """

    __tablename__ = "carves"
    __table_args__ = (
        Index("carves_guid", "host_id", "carve_guid", unique=True),
        Index("carves_kept", "host_id", postgresql_include=["carve_size"], postgresql_where=sql("expired_at IS NULL")),
        Index("carves_expiring", "expires_at", postgresql_where=sql("expired_at IS NULL")),
        Index("carves_unswept", "id", postgresql_where=sql("expired_at IS NOT NULL AND sweeps < 2")),
        {"schema": SCHEMA},
    )

    id: int | None = identity()
    host_id: int = bigint()
    campaign_id: int | None = bigint(nullable=True)
    name: str = text()
    carve_guid: str = text()
    request_id: str = text()
    block_count: int = bigint()
    block_size: int = bigint()
    carve_size: int = bigint()
    created_at: datetime = timestamp()
    expires_at: datetime = timestamp()
    blocks_stored: int = bigint(default=0)
    bytes_stored: int = bigint(default=0)
    max_block: int = bigint(default=-1)
    format: str = text()
    error: str | None = nullable_text()
    completed_at: datetime | None = timestamp(nullable=True)
    expired_at: datetime | None = timestamp(nullable=True)
    sweeps: int = bigint(default=0)


class CarveBlock(SQLModel, table=True):
    """A block of a carve. `parts_stored` has a bit for each part that is in the blob store; `stored_at` once all are.

    Rows go with the contents.
    """

    __tablename__ = "carve_blocks"
    __table_args__ = {"schema": SCHEMA}

    carve_id: int = bigint(primary_key=True)
    block_id: int = bigint(primary_key=True)
    sha256: bytes = binary()
    size: int = bigint()
    parts: int = bigint()
    parts_stored: int = bigint(default=0)
    stored_at: datetime | None = timestamp(nullable=True)


class Outbox(OutboxRow, table=True):
    """Events about campaigns that have not left yet."""

    __tablename__ = "outbox"
    __table_args__ = {"schema": SCHEMA}
