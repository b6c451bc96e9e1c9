"""Column types that several owners use."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Computed, DateTime, LargeBinary, Text, func
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


def identity() -> Any:
    """Return a bigint primary key that Postgres numbers."""
    return Field(default=None, sa_column=Column(BigInteger, primary_key=True, autoincrement=True))


def bigint(
    *, primary_key: bool = False, index: bool = False, nullable: bool = False, default: int | None = None
) -> Any:
    """Return a bigint column."""
    column: Column[int] = Column(
        BigInteger,
        primary_key=primary_key,
        index=index,
        nullable=nullable and not primary_key,
        autoincrement=False,
        server_default=None if default is None else str(default),
    )
    return Field(default=None if nullable else (default if default is not None else ...), sa_column=column)


def text(default: str = "", *, index: bool = False) -> Any:
    """Return a text column that is never null."""
    return Field(default=default, sa_column=Column(Text, nullable=False, server_default=default, index=index))


def nullable_text() -> Any:
    """Return a text column that may be null."""
    return Field(default=None, sa_column=Column(Text, nullable=True))


def timestamp(*, now: bool = False, nullable: bool = False, index: bool = False) -> Any:
    """Return a timestamptz column; with `now` Postgres fills it."""
    column: Column[datetime] = Column(
        DateTime(timezone=True), nullable=nullable, server_default=func.now() if now else None, index=index
    )
    return Field(default=None, sa_column=column)


def json_document(*, nullable: bool = False, default: str | None = "{}") -> Any:
    """Return a jsonb column."""
    column: Column[Any] = Column(
        JSONB(none_as_null=True), nullable=nullable, server_default=None if nullable else default
    )
    return Field(default=None, sa_column=column)


def flag(*, default: bool = False) -> Any:
    """Return a boolean column that is never null."""
    return Field(default=default, sa_column_kwargs={"server_default": sql("true" if default else "false")})


def computed_flag(condition: str) -> Any:
    """Return a boolean column that Postgres computes from others of the row, and nobody writes."""
    return Field(default=None, sa_column=Column(Boolean, Computed(condition, persisted=True), nullable=False))


def computed_number(expression: str) -> Any:
    """Return a bigint column that Postgres computes from others of the row, and nobody writes."""
    return Field(default=None, sa_column=Column(BigInteger, Computed(expression, persisted=True), nullable=False))


def binary(*, unique: bool = False, nullable: bool = False) -> Any:
    """Return a bytea column."""
    return Field(default=None, sa_column=Column(LargeBinary, nullable=nullable, unique=unique))


class OutboxRow(SQLModel):
    """Columns of every owner's outbox: rows leave in id order, each under its own event id.

    `trace` is the W3C `traceparent` of whoever wrote the row; the event carries it on.
    """

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    event_id: UUID
    subject: str
    body: bytes
    trace: str | None = Field(default=None, sa_type=Text)
    created_at: datetime | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
        nullable=False,
    )
