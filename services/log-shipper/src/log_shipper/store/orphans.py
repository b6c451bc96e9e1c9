"""Messages of stream DEAD that no dead letter names: a crash came between them and their rows, or after those went.

A message belongs to the batch that buried it. Once that is settled its rows are written, in the same transaction, and
nobody writes others: what no row names then is named by nobody ever. What is of a batch that is open, or not known
(any more, or not yet in a database that was restored), is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nats.js.errors
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.logs import STREAM
from flotilla_common.db.models.log_shipper import Batch, DeadLetter
from nats.js.api import RawStreamMsg
from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from log_shipper.store.dead_letters import DEAD


@dataclass(frozen=True)
class Buried:
    """A message of stream DEAD, and which batch of which destination it was of."""

    sequence: int
    destination: str
    batch_id: int


async def following(bus: Bus, sequence: int, most: int) -> tuple[list[Buried], int | None]:
    """Return what was buried of destinations from a sequence on, in so many messages, and where to go on.

    The latter is None at the end of the stream.
    """
    found: list[Buried] = []
    for _ in range(most):
        try:
            message = await bus.js.get_msg(DEAD, sequence, subject=f"dead.{STREAM}", next=True)
        except nats.js.errors.NotFoundError:
            return found, None
        sequence = int(message.seq or 0) + 1
        buried = _read(message)
        found += [] if buried is None else [buried]
    return found, sequence


def _read(message: RawStreamMsg) -> Buried | None:
    """Return what a message says of itself; None when no destination buried it."""
    headers = message.headers or {}
    parts = headers.get("Nats-Msg-Id", "").rsplit("-", 3)
    destination = headers.get("Destination", "")
    if not destination or len(parts) != 4 or parts[0] != f"{STREAM}-{destination}" or not parts[1].isdecimal():
        return None
    return Buried(int(message.seq or 0), destination, int(parts[1]))


async def orphans_of(session: AsyncSession, buried: Sequence[Buried]) -> list[int]:
    """Return the sequences of those that no letter names, nor ever will. Call it after they were read."""
    if not buried:
        return []
    ids = {one.batch_id for one in buried}
    is_settled = col(Batch.id).in_(ids), col(Batch.delivered_at).is_not(None)
    # First the batches, then the letters: those of a batch that is settled by now are there.
    rows = await session.execute(select(col(Batch.id), col(Batch.destination)).where(*is_settled))
    settled = {(row[0], row[1]) for row in rows}
    element = cast(func.jsonb_array_elements_text(col(DeadLetter.dead_sequences)), BigInteger).label("sequence")
    named = select(element).subquery()
    wanted = [one.sequence for one in buried]
    statement = select(named.c.sequence).where(named.c.sequence.between(min(wanted), max(wanted)))
    kept = set((await session.execute(statement)).scalars())
    return [one.sequence for one in buried if (one.batch_id, one.destination) in settled and one.sequence not in kept]
