"""Schema live_query: campaigns and their ledgers. Written by live-query alone; read by admin-api and analytics."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import bigint, binary, identity, json_document, nullable_text, text, timestamp

SCHEMA = "live_query"


class Campaign(SQLModel, table=True):
    """One live query run. `status`: `open` or `complete`; `kind` as in `contracts.campaigns`.

    `deadline` moves while a viewer campaign is watched. `end_reason` is set when the end is decided, `ended_at` when
    the ledger has followed, `cleared_at` when gateways and viewers have been told. `request_id` and `counts` answer a
    repeat of the request that started it. `targets_hash` names the object with the targets, when they are many.
    """

    __tablename__ = "campaigns"
    __table_args__ = (
        Index("campaigns_open", "deadline", postgresql_where=sql("status = 'open'")),
        Index("campaigns_request", "request_id", unique=True),
        Index("campaigns_uncleared", "id", postgresql_where=sql("status = 'complete' AND cleared_at IS NULL")),
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


class LedgerRow(SQLModel, table=True):
    """One host of one campaign, in exactly one state.

    `state`: pending, answered, failed, denylisted, expired, cancelled or unreachable. The only transitions are those
    from pending, each by one statement. `settled_at` is null while pending. `offered_at` is a detail of pending: when
    it became known that the host has taken the query and not answered; hosts that answer at once have none.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        Index("ledger_state", "campaign_id", "state"),
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
