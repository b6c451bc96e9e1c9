"""Replays: ranges of the stream that destinations are to get once more. `log_shipper.replays`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flotilla_common.db.models.log_shipper import Replay
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

KEPT = timedelta(days=30)


async def add(session: AsyncSession, destination: str, first: int, last: int) -> Replay:
    """Add a replay."""
    row = Replay(destination=destination, first_sequence=first, last_sequence=last, cursor_sequence=first - 1)
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def find(session: AsyncSession, replay_id: int) -> Replay | None:
    """Return a replay."""
    return (await session.execute(select(Replay).where(col(Replay.id) == replay_id))).scalar_one_or_none()


async def open_of(session: AsyncSession, destination: str) -> Replay | None:
    """Return the oldest replay of a destination that has not ended."""
    found = await session.execute(
        select(Replay)
        .where(col(Replay.destination) == destination, col(Replay.ended_at).is_(None))
        .order_by(col(Replay.id))
        .limit(1)
    )
    return found.scalar_one_or_none()


async def all_rows(session: AsyncSession) -> Sequence[Replay]:
    """Return all replays, newest first."""
    return (await session.execute(select(Replay).order_by(col(Replay.id).desc()))).scalars().all()


async def running(session: AsyncSession) -> int:
    """Return how many replays have not ended."""
    return (
        await session.execute(select(func.count()).select_from(Replay).where(col(Replay.ended_at).is_(None)))
    ).scalar_one()


async def lowest(session: AsyncSession) -> int | None:
    """Return the lowest sequence that a replay still needs; None when none does."""
    found = await session.execute(select(func.min(col(Replay.cursor_sequence))).where(col(Replay.ended_at).is_(None)))
    cursor = found.scalar_one()
    return None if cursor is None else int(cursor) + 1


async def move(session: AsyncSession, replay: Replay, sequence: int, lines: int) -> None:
    """Note how far a replay is; it ends at its end."""
    await session.execute(
        update(Replay)
        .where(col(Replay.id) == replay.id)
        .values(cursor_sequence=sequence, lines=col(Replay.lines) + lines)
    )
    if sequence >= replay.last_sequence:
        await end(session, int(replay.id or 0))


async def end(session: AsyncSession, replay_id: int, *, is_cancelled: bool = False) -> bool:
    """End a replay; return whether it had not ended."""
    done = await session.execute(
        update(Replay)
        .where(col(Replay.id) == replay_id, col(Replay.ended_at).is_(None))
        .values(ended_at=func.now(), is_cancelled=is_cancelled)
        .returning(col(Replay.id))
    )
    return done.scalar_one_or_none() is not None


async def end_all_of(session: AsyncSession, destination: str) -> None:
    """Cancel the replays of a destination that is taken away."""
    await session.execute(
        update(Replay)
        .where(col(Replay.destination) == destination, col(Replay.ended_at).is_(None))
        .values(ended_at=func.now(), is_cancelled=True)
    )


async def forget_old(session: AsyncSession) -> None:
    """Delete replays that ended long ago."""
    await session.execute(delete(Replay).where(col(Replay.ended_at) < func.now() - KEPT))
