"""Rows of carves, and which campaign a host may have been asked for one by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import Campaign, Carve, CarveBlock, LedgerRow
from sqlalchemy import BigInteger, ColumnElement, any_, cast, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

ERROR_CHARACTERS = 500
FIRST, LAST = 1, 2  # sweeps


@dataclass(frozen=True)
class Kept:
    """What carves that have not expired take, as announced: of one host, and of all. `known_id`: begun before."""

    host_carves: int
    host_bytes: int
    total_bytes: int
    known_id: int | None = None


async def lock(session: AsyncSession) -> None:
    """Keep others from beginning a carve until the transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('live_query.carves', 0))"))


async def host_asked(
    session: AsyncSession, host_id: int, campaign_id: int | None, since: datetime
) -> tuple[str, int | None] | None:
    """Return a host's name and the newest campaign that carves and targets it, open or ended since a time.

    With a campaign's id that one alone counts. None: there is no such host. No SQL carves without the word: function
    and table are named so.
    """
    targeted = exists().where(col(LedgerRow.campaign_id) == col(Campaign.id), col(LedgerRow.host_id) == host_id)
    statement = select(col(Campaign.id)).where(
        text("sql ~* 'carve'"),  # as the index says it
        targeted,
        or_(col(Campaign.status) == "open", col(Campaign.ended_at) >= since),
    )
    if campaign_id is not None:
        statement = statement.where(col(Campaign.id) == campaign_id)
    asked_by = statement.order_by(col(Campaign.id).desc()).limit(1).scalar_subquery()
    found = await session.execute(select(col(Host.hostname), asked_by).where(col(Host.id) == host_id))
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def kept(session: AsyncSession, host_id: int, carve_guid: str) -> Kept:
    """Return what carves take now, and whether the host has begun one that it calls so."""
    of_host, sizes = col(Carve.host_id) == host_id, func.sum(col(Carve.carve_size))
    same = aliased(Carve)
    known = select(col(same.id)).where(col(same.host_id) == host_id, col(same.carve_guid) == carve_guid)
    statement = select(
        func.count().filter(of_host),
        func.coalesce(sizes.filter(of_host), 0),
        func.coalesce(sizes, 0),
        known.scalar_subquery(),
    ).where(col(Carve.expired_at).is_(None))
    number, host_bytes, total, known_id = (await session.execute(statement)).one()
    return Kept(number, int(host_bytes), int(total), known_id)


async def add(session: AsyncSession, carve: Carve) -> None:
    """Insert a carve; it has its id then."""
    session.add(carve)
    await session.flush()


async def find(session: AsyncSession, carve_ids: Collection[int]) -> dict[int, Carve]:
    """Return carves by id, as they are now."""
    found = await session.execute(select(Carve).where(_among(carve_ids)))
    return {carve.id or 0: carve for carve in found.scalars()}


async def hold(session: AsyncSession, carve_ids: Collection[int]) -> dict[int, Carve]:
    """Return carves by id; nobody else changes them until the transaction ends. In one order for everybody."""
    statement = select(Carve).where(_among(carve_ids)).order_by(col(Carve.id)).with_for_update()
    found = await session.execute(statement.execution_options(populate_existing=True))
    return {carve.id or 0: carve for carve in found.scalars()}


async def expire(session: AsyncSession, now: datetime) -> list[int]:
    """Mark carves whose time is over, whose contents are then to be deleted; return them."""
    statement = update(Carve).where(col(Carve.expired_at).is_(None), col(Carve.expires_at) <= now)
    found = await session.execute(statement.values(expired_at=now).returning(col(Carve.id)))
    return [carve_id or 0 for carve_id in found.scalars()]


async def expire_host(session: AsyncSession, host_id: int, now: datetime) -> int:
    """Let incomplete carves of a host that is gone expire; return how many."""
    statement = update(Carve).where(
        col(Carve.host_id) == host_id, col(Carve.expired_at).is_(None), col(Carve.completed_at).is_(None)
    )
    error = func.coalesce(col(Carve.error), "the host was deleted before all blocks had come")
    found = await session.execute(statement.values(expired_at=now, error=error).returning(col(Carve.id)))
    return len(found.all())


async def unswept(session: AsyncSession, late: datetime, limit: int) -> list[tuple[int, int]]:
    """Return expired carves with the sweep that is due: the first at once, the last once they expired before `late`."""
    statement = select(col(Carve.id), col(Carve.sweeps) + 1).where(
        col(Carve.expired_at).is_not(None),
        col(Carve.sweeps) < LAST,
        or_(col(Carve.sweeps) < FIRST, col(Carve.expired_at) <= late),
    )
    found = await session.execute(statement.order_by(col(Carve.id)).limit(limit))
    return [(carve_id or 0, sweep) for carve_id, sweep in found]


async def note_swept(session: AsyncSession, carve_id: int, sweep: int) -> None:
    """Remember that a carve's contents are deleted, and forget its blocks."""
    await session.execute(delete(CarveBlock).where(col(CarveBlock.carve_id) == carve_id))
    await session.execute(update(Carve).where(col(Carve.id) == carve_id).values(sweeps=sweep))


def _among(carve_ids: Collection[int]) -> ColumnElement[bool]:
    return col(Carve.id) == any_(cast(sorted(carve_ids), ARRAY(BigInteger)))
