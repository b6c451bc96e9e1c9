"""Schema log_shipper: destinations, cursors, batches and ledger. Written by log-shipper alone; read by admin-api."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Text
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import bigint, binary, identity, json_document, text, timestamp

SCHEMA = "log_shipper"


class Intake(SQLModel, table=True):
    """One row: up to which sequence of which stream received lines have been added to the ledger."""

    __tablename__ = "intake"
    __table_args__ = {"schema": SCHEMA}

    id: int = Field(default=1, sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    cursor_sequence: int = bigint(default=0)
    stream_created_at: datetime | None = timestamp(nullable=True)
    updated_at: datetime = timestamp(now=True)


class Destination(SQLModel, table=True):
    """A place that lines go to. `cursor_sequence`: the last sequence of the stream that is settled for it.

    `spec` is a `contracts.log_destinations.Destination` without secrets; `secrets` holds those of one that the API
    made, encrypted. `declared_at`: when a replica last found it in its environment or file. What was taken away keeps
    its row, since its books stay: nothing after `until_sequence` is for it.
    """

    __tablename__ = "destinations"
    __table_args__ = {"schema": SCHEMA}

    name: str = Field(sa_column=Column(Text, primary_key=True))
    cursor_sequence: int = bigint(default=0)
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
    failing_since: datetime | None = timestamp(nullable=True)
    last_error: str = text()


class Batch(SQLModel, table=True):
    """An exact range of the stream that was cut for a destination. A retry delivers exactly this range again.

    `target` is what the destination said before the first try about where the batch goes (file offsets, object name).
    """

    __tablename__ = "batches"
    __table_args__ = (Index("batches_destination", "destination", "first_sequence", unique=True), {"schema": SCHEMA})

    id: int | None = identity()
    destination: str = text()
    first_sequence: int = bigint()
    last_sequence: int = bigint()
    lines: int = bigint(default=0)
    target: dict[str, Any] = json_document()
    attempts: int = bigint(default=0)
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
