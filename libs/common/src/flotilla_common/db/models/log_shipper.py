"""Schema log_shipper: destinations, their cursors, batches and ledger.

Written by log-shipper alone; read by admin-api.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, DateTime, Index, Text
from sqlmodel import Field, SQLModel

from flotilla_common.db.models.columns import bigint, identity, text, timestamp

SCHEMA = "log_shipper"


class Destination(SQLModel, table=True):
    """A place that lines go to. `cursor_sequence`: the last stream sequence that is settled for it."""

    __tablename__ = "destinations"
    __table_args__ = {"schema": SCHEMA}

    name: str = Field(sa_column=Column(Text, primary_key=True))
    kind: str = text()
    cursor_sequence: int = bigint(default=0)
    file_offset: int = bigint(default=0)
    created_at: datetime = timestamp(now=True)
    updated_at: datetime = timestamp(now=True)


class Batch(SQLModel, table=True):
    """An exact range of the stream that was cut for a destination. A retry delivers exactly this range again."""

    __tablename__ = "batches"
    __table_args__ = (Index("batches_destination", "destination", "first_sequence", unique=True), {"schema": SCHEMA})

    id: int | None = identity()
    destination: str = text()
    first_sequence: int = bigint()
    last_sequence: int = bigint()
    lines: int = bigint(default=0)
    file_offset: int = bigint(default=0)
    object_name: str = text()
    created_at: datetime = timestamp(now=True)
    delivered_at: datetime | None = timestamp(nullable=True)


class LedgerHour(SQLModel, table=True):
    """Lines per destination, log type and hour (UTC) of receipt.

    received = filtered + delivered + dead_lettered + pending.
    """

    __tablename__ = "ledger"
    __table_args__ = {"schema": SCHEMA}

    destination: str = Field(sa_column=Column(Text, primary_key=True))
    log_type: str = Field(sa_column=Column(Text, primary_key=True))
    hour: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    filtered: int = bigint(default=0)
    delivered: int = bigint(default=0)
    dead_lettered: int = bigint(default=0)
