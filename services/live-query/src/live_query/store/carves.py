"""Rows of carves, and which campaign a host may have been asked for one by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.db.models.live_query import Carve, CarveBlock
from sqlalchemy import BigInteger, ColumnElement, Text, and_, any_, cast, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

ERROR_CHARACTERS = 500
FIRST, LAST = 1, 2  # sweeps


@dataclass
class Kept:
    """What carves that have not expired take, in bytes as announced: all together, and host -> (carves, bytes)."""

    total_bytes: int
    of_hosts: dict[int, tuple[int, int]]

    def add(self, carve: Carve) -> None:
        """Count one more."""
        self.total_bytes += carve.carve_size
        number, size = self.of_hosts.get(carve.host_id, (0, 0))
        self.of_hosts[carve.host_id] = (number + 1, size + carve.carve_size)


async def lock(session: AsyncSession) -> None:
    """Keep others from beginning a carve until the transaction ends."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('live_query.carves', 0))"))


async def hosts_asked(
    session: AsyncSession, asked: Sequence[tuple[int, int | None]], since: datetime
) -> dict[int, tuple[str, int | None]]:
    """Return hosts' names and the newest campaigns that carve and target them, open or ended since a time.

    `asked`: hosts, each with the one campaign that counts, or None; the answer is by place in it, and hosts that do not
    exist are left out. No SQL carves without the word, which an index looks for: function and table are named so.
    """
    found = await session.execute(
        text(
            "SELECT asked.place, host.hostname, (SELECT campaign.id FROM live_query.campaigns AS campaign"
            " WHERE campaign.sql ~* 'carve' AND (campaign.status = 'open' OR campaign.ended_at >= :since)"
            " AND (asked.campaign_id IS NULL OR campaign.id = asked.campaign_id) AND EXISTS (SELECT 1"
            " FROM live_query.ledger WHERE ledger.campaign_id = campaign.id AND ledger.host_id = asked.host_id)"
            " ORDER BY campaign.id DESC LIMIT 1) AS campaign_id"
            " FROM unnest(CAST(:hosts AS bigint[]), CAST(:campaigns AS bigint[]))"
            " WITH ORDINALITY AS asked(host_id, campaign_id, place)"
            " JOIN inventory.hosts AS host ON host.id = asked.host_id"
        ),
        {"hosts": [one[0] for one in asked], "campaigns": [one[1] for one in asked], "since": since},
    )
    return {row.place - 1: (row.hostname, row.campaign_id) for row in found}


async def begun_before(session: AsyncSession, names: Collection[tuple[int, str]]) -> dict[tuple[int, str], Carve]:
    """Return those carves that were begun, by host and what the host calls them."""
    asked = (
        func.unnest(
            cast([name[0] for name in names], ARRAY(BigInteger)), cast([name[1] for name in names], ARRAY(Text))
        )
        .table_valued("host_id", "carve_guid")
        .render_derived(name="asked")
    )
    statement = select(Carve).join(
        asked, and_(col(Carve.host_id) == asked.c.host_id, col(Carve.carve_guid) == asked.c.carve_guid)
    )
    return {(carve.host_id, carve.carve_guid): carve for carve in (await session.execute(statement)).scalars()}


async def kept(session: AsyncSession, host_ids: Collection[int]) -> Kept:
    """Return what carves take now: all, and those of these hosts."""
    live = col(Carve.expired_at).is_(None)
    size = func.coalesce(func.sum(col(Carve.carve_size)), 0)
    total = (await session.execute(select(size).where(live))).scalar_one()
    of_hosts = select(col(Carve.host_id), func.count(), size).where(
        live, col(Carve.host_id) == any_(cast(sorted(host_ids), ARRAY(BigInteger)))
    )
    found = await session.execute(of_hosts.group_by(col(Carve.host_id)))
    return Kept(int(total), {host_id: (number, int(taken)) for host_id, number, taken in found})


async def add(session: AsyncSession, carves: Sequence[Carve]) -> None:
    """Insert carves; they have their ids then."""
    session.add_all(carves)
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
