"""Schema analytics: reports made here, and reports that a collector received. Written by analytics alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import bigint, identity, json_document, text, timestamp

SCHEMA = "analytics"


class Installation(SQLModel, table=True):
    """One row: the anonymous random identifier of this installation."""

    __tablename__ = "installation"
    __table_args__ = {"schema": SCHEMA}

    id: int = Field(default=1, sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    anonymous_identifier: UUID
    created_at: datetime = timestamp(now=True)


class SentReport(SQLModel, table=True):
    """A usage report that was built, and what became of it.

    `outcome`: `not_sent` (no collector is set), `pending`, `accepted`, `refused` or `superseded` (a newer one was built
    before the collector could be reached). `error` is why the last attempt failed.
    """

    __tablename__ = "sent_reports"
    __table_args__ = {"schema": SCHEMA}

    id: int | None = identity()
    report_id: UUID = Field(unique=True)
    body: dict[str, Any] = json_document()
    outcome: str = text("pending")
    error: str = text()
    attempts: int = bigint(default=0)
    created_at: datetime = timestamp(now=True, index=True)
    next_attempt_at: datetime = timestamp(now=True)
    sent_at: datetime | None = timestamp(nullable=True)


class ReceivedReport(SQLModel, table=True):
    """A usage report that another installation posted to this collector."""

    __tablename__ = "received_reports"
    __table_args__ = {"schema": SCHEMA}

    id: int | None = identity()
    report_id: UUID = Field(unique=True)
    anonymous_identifier: UUID = Field(index=True)
    body: dict[str, Any] = json_document()
    received_at: datetime = timestamp(now=True, index=True)
