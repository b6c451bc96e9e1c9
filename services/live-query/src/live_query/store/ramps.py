"""Which hosts of a ramped campaign may be asked by now: a column of the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta

from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from flotilla_common.db.models.live_query import LedgerRow
from sqlalchemy import BigInteger, and_, any_, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

SILENT_FOR = timedelta(seconds=60)
"""A released host that does not come for the query is waited for this long."""
TAKEN_FOR = timedelta(minutes=5)
"""One that has taken it and does not answer, this long."""


async def awaited(session: AsyncSession, campaign_id: int, now: datetime) -> int:
    """Return how many released hosts hold others up: those that are pending, and have not had their time yet."""
    since = col(LedgerRow.released_at)
    taken = and_(col(LedgerRow.offered_at).is_not(None), since > now - TAKEN_FOR)
    statement = select(func.count()).where(
        col(LedgerRow.campaign_id) == campaign_id,
        col(LedgerRow.state) == "pending",
        since.is_not(None),
        or_(since > now - SILENT_FOR, taken),
    )
    return int(await session.scalar(statement) or 0)


async def release(session: AsyncSession, campaign_id: int, count: int, now: datetime) -> int:
    """Release so many pending hosts that are online, by id; return how many there were. Others come when they are."""
    waiting = (
        select(col(LedgerRow.host_id))
        .join(Host, col(Host.id) == col(LedgerRow.host_id))
        .outerjoin(HostSeen, col(HostSeen.host_id) == col(Host.id))
        .where(
            col(LedgerRow.campaign_id) == campaign_id,
            col(LedgerRow.state) == "pending",
            col(LedgerRow.released_at).is_(None),
            online_clause(now),
        )
        .order_by(col(LedgerRow.host_id))
        .limit(count)
        .with_for_update(of=LedgerRow, skip_locked=True)
    )
    host_ids = list((await session.execute(waiting)).scalars())
    if host_ids:
        chosen = col(LedgerRow.host_id) == any_(cast(host_ids, ARRAY(BigInteger)))
        statement = update(LedgerRow).where(col(LedgerRow.campaign_id) == campaign_id, chosen).values(released_at=now)
        await session.execute(statement.execution_options(synchronize_session=False))
    return len(host_ids)


async def released(session: AsyncSession, campaign_id: int) -> list[int]:
    """Return all hosts that were released."""
    statement = select(func.array_agg(col(LedgerRow.host_id))).where(
        col(LedgerRow.campaign_id) == campaign_id, col(LedgerRow.released_at).is_not(None)
    )
    return list((await session.execute(statement)).scalar_one() or ())
