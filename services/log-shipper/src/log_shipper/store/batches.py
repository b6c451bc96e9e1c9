"""Batches: which range was cut, where it goes, whether it is settled. `log_shipper.batches`."""

from __future__ import annotations

from datetime import timedelta

from flotilla_common.db.models.log_shipper import Batch
from flotilla_common.errors import LeaseLost
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

KEPT = timedelta(days=7)


async def unsettled(session: AsyncSession, destination: str) -> Batch | None:
    """Return the batch that was recorded and not settled; there is one at most."""
    found = await session.execute(
        select(Batch).where(col(Batch.destination) == destination, col(Batch.delivered_at).is_(None))
    )
    return found.scalar_one_or_none()


async def record(session: AsyncSession, batch: Batch) -> None:
    """Record a range before its delivery."""
    session.add(batch)
    await session.flush()


async def begin_try(session: AsyncSession, batch_id: int, tries: int) -> None:
    """Note that a try to deliver a batch begins, and that up to so many may have brought a line, this one included."""
    await session.execute(update(Batch).where(col(Batch.id) == batch_id).values(attempts=tries))


async def settle(session: AsyncSession, batch_id: int) -> None:
    """Mark a batch as delivered.

    Raises:
        LeaseLost: it is already.

    """
    done = await session.execute(
        update(Batch)
        .where(col(Batch.id) == batch_id, col(Batch.delivered_at).is_(None))
        .values(delivered_at=func.now())
        .returning(col(Batch.id))
    )
    if done.scalar_one_or_none() is None:
        raise LeaseLost(f"batch {batch_id} is settled already")


async def forget_beyond(session: AsyncSession, destination: str, sequence: int) -> None:
    """Delete the batches of messages that the stream has lost: their numbers come again."""
    await session.execute(
        delete(Batch).where(
            col(Batch.destination) == destination, col(Batch.source) != "dead", col(Batch.last_sequence) > sequence
        )
    )


async def forget_old(session: AsyncSession) -> None:
    """Delete batches that were settled long ago."""
    await session.execute(delete(Batch).where(col(Batch.delivered_at) < func.now() - KEPT))
