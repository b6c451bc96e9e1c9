"""Parts of the stream that are in the blob store: `log_shipper.segments`, objects below `logs/`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from flotilla_common.blobs import Blobs
from flotilla_common.clock import utc_now
from flotilla_common.db.models.log_shipper import Segment
from flotilla_common.errors import LeaseLost, Unavailable
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from log_shipper.store.packing import Packed, unpack
from log_shipper.store.stream import StoredMessage

FOLDER = "logs"


async def begin(session: AsyncSession, packed: Packed, stream_created_at: datetime) -> Segment:
    """Write down a segment that does not count yet. Its object's name is new: nobody else writes there."""
    first, last = packed.first, packed.last
    segment = Segment(
        first_sequence=first.sequence,
        last_sequence=last.sequence,
        stream_created_at=stream_created_at,
        messages=packed.messages,
        raw_bytes=packed.raw_bytes,
        first_stored_at=first.stored_at,
        last_stored_at=last.stored_at,
        totals=packed.totals,
        index=packed.index,
        object_name=f"{FOLDER}/{first.sequence:020d}-{last.sequence:020d}-{uuid4().hex}.gz",
        object_bytes=len(packed.data),
        removing_at=utc_now(),
    )
    session.add(segment)
    await session.flush()
    return segment


async def count_in(session: AsyncSession, segment_id: int) -> None:
    """Make a segment count whose object is stored.

    Raises:
        LeaseLost: it was taken for one that nobody finished.

    """
    done = await session.execute(
        update(Segment)
        .where(col(Segment.id) == segment_id)
        .values(removing_at=None, created_at=func.now())
        .returning(col(Segment.id))
    )
    if done.scalar_one_or_none() is None:
        raise LeaseLost(f"segment {segment_id} is gone")


async def fetch(blobs: Blobs, segment: Segment) -> list[StoredMessage]:
    """Return a segment's messages.

    Raises:
        Unavailable: the blob store does not have it, or does not answer.
        SegmentBroken: it is not what was stored.

    """
    data = await blobs.get(segment.object_name)
    if data is None:
        raise Unavailable(f"blob store: {segment.object_name} is not there")
    return await asyncio.to_thread(unpack, segment.index, data, segment.raw_bytes)


async def next_of(session: AsyncSession, stream_created_at: datetime, sequence: int) -> Segment | None:
    """Return the segment that holds this sequence, else the first one after it; None when there is none."""
    found = await session.execute(
        select(Segment)
        .where(
            col(Segment.stream_created_at) == stream_created_at,
            col(Segment.last_sequence) >= sequence,
            col(Segment.removing_at).is_(None),
        )
        .order_by(col(Segment.last_sequence))
        .limit(1)
    )
    return found.scalar_one_or_none()


async def all_rows(session: AsyncSession) -> Sequence[Segment]:
    """Return all segments that count, in order, without their indexes."""
    found = await session.execute(
        select(Segment)
        .options(defer(Segment.index, raiseload=True))  # type: ignore[arg-type]
        .where(col(Segment.removing_at).is_(None))
        .order_by(col(Segment.stream_created_at), col(Segment.last_sequence))
    )
    return found.scalars().all()


async def stored_bytes(session: AsyncSession) -> int:
    """Return how many bytes of the stream are in segments that count, as messages."""
    statement = select(func.coalesce(func.sum(col(Segment.raw_bytes)), 0)).where(col(Segment.removing_at).is_(None))
    return int((await session.execute(statement)).scalar_one())


async def index_of(session: AsyncSession, segment_id: int) -> bytes:
    """Return a segment's index; empty when it is gone."""
    found = await session.execute(select(col(Segment.index)).where(col(Segment.id) == segment_id))
    return found.scalar_one_or_none() or b""


async def give_up(session: AsyncSession, ids: Sequence[int]) -> None:
    """Say that these do not count any more; their objects can go."""
    chosen = col(Segment.id).in_(ids), col(Segment.removing_at).is_(None)
    await session.execute(update(Segment).where(*chosen).values(removing_at=func.now()))


async def given_up(session: AsyncSession, rest: timedelta) -> Sequence[tuple[int, str]]:
    """Return id and object of those that do not count since so long: nobody reads them any more."""
    found = await session.execute(
        select(col(Segment.id), col(Segment.object_name)).where(col(Segment.removing_at) < func.now() - rest)
    )
    return [(segment_id or 0, name) for segment_id, name in found]


async def forget(session: AsyncSession, ids: Sequence[int]) -> None:
    """Delete rows whose objects are gone."""
    await session.execute(delete(Segment).where(col(Segment.id).in_(ids)))
