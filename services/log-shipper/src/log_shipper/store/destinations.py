"""Destinations with their cursors, and the cursor of the intake. `log_shipper.destinations`, `log_shipper.intake`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from flotilla_common.db.models.log_shipper import Destination, Intake
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from log_shipper.errors import LeaseLost


async def register(session: AsyncSession, names: Iterable[str]) -> Sequence[str]:
    """Add the destinations that are new; return the names of all, also of those that are not wanted any more.

    A new destination begins where the intake stands, so that its `received` counts exactly what it will see: from the
    first line in a new installation, from now on in an older one.
    """
    intake = await lock_intake(session)
    for name in names:
        row = {"name": name, "cursor_sequence": intake}
        await session.execute(insert(Destination).values(row).on_conflict_do_nothing())
    return (await session.execute(select(col(Destination.name)).order_by(col(Destination.name)))).scalars().all()


async def lock_intake(session: AsyncSession) -> int:
    """Return the intake's cursor and keep it from moving until the transaction ends."""
    await session.execute(insert(Intake).values(id=1).on_conflict_do_nothing())
    found = await session.execute(select(col(Intake.cursor_sequence)).with_for_update())
    return found.scalar_one()


async def place(session: AsyncSession, name: str) -> tuple[int, datetime | None]:
    """Lock a destination; return its cursor and when the stream it is about was made."""
    found = await session.execute(select(Destination).where(col(Destination.name) == name).with_for_update())
    row = found.scalar_one()
    return row.cursor_sequence, row.stream_created_at


async def place_anew(session: AsyncSession, name: str, sequence: int, stream_created_at: datetime) -> None:
    """Set a destination's cursor and the stream that it is about."""
    await session.execute(
        update(Destination)
        .where(col(Destination.name) == name)
        .values(cursor_sequence=sequence, stream_created_at=stream_created_at, updated_at=func.now())
    )


async def intake_place(session: AsyncSession) -> tuple[int, datetime | None]:
    """Lock the intake; return its cursor and when the stream it is about was made."""
    cursor = await lock_intake(session)
    return cursor, (await session.execute(select(col(Intake.stream_created_at)))).scalar_one()


async def place_intake_anew(session: AsyncSession, sequence: int, stream_created_at: datetime) -> None:
    """Set the intake's cursor and the stream that it is about."""
    await session.execute(
        update(Intake).values(cursor_sequence=sequence, stream_created_at=stream_created_at, updated_at=func.now())
    )


async def move_intake(session: AsyncSession, sequence: int) -> None:
    """Set the intake's cursor."""
    await session.execute(update(Intake).values(cursor_sequence=sequence, updated_at=func.now()))


async def intake(session: AsyncSession) -> int:
    """Return the intake's cursor."""
    return (await session.execute(select(col(Intake.cursor_sequence)))).scalar_one_or_none() or 0


async def cursors(session: AsyncSession) -> dict[str, int]:
    """Return destination -> the last sequence that is settled for it."""
    rows = await session.execute(select(col(Destination.name), col(Destination.cursor_sequence)))
    return {row[0]: row[1] for row in rows}


async def lock(session: AsyncSession, name: str, expected_cursor: int) -> Destination:
    """Lock a destination whose cursor must stand at `expected_cursor`.

    Raises:
        LeaseLost: it stands elsewhere: another replica settled what this one was about to.

    """
    found = await session.execute(select(Destination).where(col(Destination.name) == name).with_for_update())
    row = found.scalar_one()
    if row.cursor_sequence != expected_cursor:
        raise LeaseLost(f"{name}: the cursor stands at {row.cursor_sequence}, not at {expected_cursor}")
    return row


async def move(session: AsyncSession, name: str, sequence: int) -> None:
    """Set a destination's cursor."""
    await session.execute(
        update(Destination).where(col(Destination.name) == name).values(cursor_sequence=sequence, updated_at=func.now())
    )
