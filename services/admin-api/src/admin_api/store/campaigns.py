"""Reads of live-query's campaigns and ledgers."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import Campaign, LedgerRow
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from admin_api.store import host_summary
from admin_api.store.host_scope import VisibleTeams, one_of
from admin_api.store.host_summary import HostTotals


async def by_id(session: AsyncSession, campaign_id: int) -> Campaign | None:
    """Return a campaign, open or complete, without its signed command."""
    statement = select(Campaign).where(col(Campaign.id) == campaign_id).options(defer(Campaign.command))  # type: ignore[arg-type]
    found: Campaign | None = await session.scalar(statement)
    return found


async def is_open(session: AsyncSession, campaign_id: int) -> bool:
    """Whether hosts are still asked."""
    return await session.scalar(select(col(Campaign.status)).where(col(Campaign.id) == campaign_id)) == "open"


async def ledger(session: AsyncSession, campaign_id: int) -> dict[str, int]:
    """Return state -> number of targeted hosts in it; states of no host are left out."""
    statement = (
        select(col(LedgerRow.state), func.count())
        .where(col(LedgerRow.campaign_id) == campaign_id)
        .group_by(col(LedgerRow.state))
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def offered(session: AsyncSession, campaign_id: int) -> int:
    """Return how many of the pending hosts have taken the query and are silent."""
    statement = select(func.count()).where(
        col(LedgerRow.campaign_id) == campaign_id,
        col(LedgerRow.state) == "pending",
        col(LedgerRow.offered_at).is_not(None),
    )
    return (await session.execute(statement)).scalar_one()


async def totals(session: AsyncSession, campaign_id: int, now: datetime) -> HostTotals:
    """Return how the targeted hosts are now. Deleted ones count as offline: they were targeted and cannot answer."""
    targeted = select(col(LedgerRow.host_id)).where(col(LedgerRow.campaign_id) == campaign_id)
    alive = await host_summary.totals(session, [col(Host.id).in_(targeted)], now)
    number = await session.scalar(select(func.count()).select_from(targeted.subquery())) or 0
    return HostTotals(number, alive.online, alive.missing, alive.new)


async def targets_only(session: AsyncSession, campaign_id: int, teams: VisibleTeams) -> bool:
    """Whether every targeted host is in one of these teams now (None: any). Deleted hosts are in no team."""
    if teams is None:
        return True
    statement = (
        select(col(LedgerRow.host_id))
        .outerjoin(Host, col(Host.id) == col(LedgerRow.host_id))
        .where(
            col(LedgerRow.campaign_id) == campaign_id,
            func.coalesce(~one_of(col(Host.team_id), teams), True),
        )
        .limit(1)
    )
    return await session.scalar(statement) is None
