"""How far those are who read the stream beside destinations and the intake. `log_shipper.readers`."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.db.models.log_shipper import Reader
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

HOST_LOSSES = "host losses"


async def place(session: AsyncSession, name: str) -> tuple[int, datetime | None]:
    """Return a reader's cursor and when the stream that it is about was made; 0 and None when it has not begun."""
    statement = select(col(Reader.cursor_sequence), col(Reader.stream_created_at)).where(col(Reader.name) == name)
    row = (await session.execute(statement)).one_or_none()
    return (0, None) if row is None else (row[0], row[1])


async def lock(session: AsyncSession, name: str) -> tuple[int, datetime | None]:
    """Return the same, and keep it from moving until the transaction ends."""
    await session.execute(insert(Reader).values(name=name).on_conflict_do_nothing())
    statement = select(col(Reader.cursor_sequence), col(Reader.stream_created_at)).where(col(Reader.name) == name)
    row = (await session.execute(statement.with_for_update())).one()
    return row[0], row[1]


async def move(session: AsyncSession, name: str, sequence: int, stream_created_at: datetime | None = None) -> None:
    """Set a locked reader's cursor, and which stream it is about when that is given."""
    values = {"cursor_sequence": sequence, "updated_at": func.now()}
    if stream_created_at is not None:
        values["stream_created_at"] = stream_created_at
    await session.execute(update(Reader).where(col(Reader.name) == name).values(**values))
