"""Reads of live-query's campaigns and ledgers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flotilla_common.contracts.campaigns import Budget
from flotilla_common.db.models.admin_api import AppConfig
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.live_query import Campaign, CampaignBudget, LedgerRow
from sqlalchemy import BigInteger, Select, any_, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from admin_api.store import host_summary
from admin_api.store.host_scope import VisibleTeams, one_of
from admin_api.store.host_summary import HostTotals
from admin_api.store.listing import ListOptions, Sortable, page_of

_ORDER_KEYS: Mapping[str, Sortable] = {
    "id": col(Campaign.id),
    "created_at": col(Campaign.created_at),
    "ended_at": col(Campaign.ended_at),
    "deadline": col(Campaign.deadline),
}


async def by_id(session: AsyncSession, campaign_id: int) -> Campaign | None:
    """Return a campaign, open or complete, without its signed command."""
    statement = select(Campaign).where(col(Campaign.id) == campaign_id).options(defer(Campaign.command))  # type: ignore[arg-type]
    found: Campaign | None = await session.scalar(statement)
    return found


async def command_of(session: AsyncSession, campaign_id: int) -> bytes:
    """Return a campaign's signed command, of up to half a megabyte; empty if there is no such campaign."""
    return await session.scalar(select(col(Campaign.command)).where(col(Campaign.id) == campaign_id)) or b""


async def are_off(session: AsyncSession) -> bool:
    """Whether an administrator has turned live queries off: none starts, and those that run are halted."""
    return bool(await session.scalar(select(col(AppConfig.live_query_disabled)).where(col(AppConfig.id) == 1)))


@dataclass(frozen=True)
class Account:
    """A campaign's limits, and what it has cost so far by the same names without `max_`."""

    budget: Budget
    spent: Mapping[str, int]


async def account(session: AsyncSession, campaign_id: int) -> Account:
    """Return what a campaign may cost and has cost; one from before there were budgets has neither."""
    row = await session.get(CampaignBudget, campaign_id) or CampaignBudget(campaign_id=campaign_id)
    names = tuple(Budget.model_fields)
    counted = [name.removeprefix("max_") for name in names if name.startswith("max_")]
    spent = {name: getattr(row, name) or 0 for name in counted}
    return Account(Budget(**{name: getattr(row, name) for name in names}), spent)


@dataclass(frozen=True)
class Ramp:
    """How far a campaign is that asks so many hosts at a time: pending hosts that may be asked by now, and others."""

    hosts_at_a_time: int
    asked: int
    waiting: int


async def ramp(session: AsyncSession, campaign_id: int) -> Ramp | None:
    """Return how far a campaign's ramp is; None when it asks all at once."""
    at_a_time = await session.scalar(
        select(col(CampaignBudget.hosts_at_a_time)).where(col(CampaignBudget.campaign_id) == campaign_id)
    )
    if at_a_time is None:
        return None
    statement = select(func.count(), func.count(col(LedgerRow.released_at))).where(
        col(LedgerRow.campaign_id) == campaign_id, col(LedgerRow.state) == "pending"
    )
    pending, asked = (await session.execute(statement)).one()
    return Ramp(at_a_time, asked, pending - asked)


@dataclass(frozen=True)
class Standing:
    """Whether a campaign is open, and what keeps an open one from asking: its pause, its ramp, or the switch of all."""

    is_open: bool = True
    paused_at: datetime | None = None
    pause_reason: str | None = None
    is_halted: bool = False
    ramp: Ramp | None = None


async def standing(session: AsyncSession, campaign_id: int) -> Standing:
    """Return how a campaign stands; one that does not exist is not open."""
    off = select(col(AppConfig.live_query_disabled)).where(col(AppConfig.id) == 1).scalar_subquery()
    statement = select(col(Campaign.status), col(Campaign.paused_at), col(Campaign.pause_reason), off)
    row = (await session.execute(statement.where(col(Campaign.id) == campaign_id))).one_or_none()
    if row is None or row[0] != "open":
        return Standing(is_open=False)
    return Standing(True, row[1], row[2], bool(row[3]), await ramp(session, campaign_id))


async def page(
    session: AsyncSession, options: ListOptions, user_id: int | None, status: str
) -> tuple[Sequence[Campaign], bool]:
    """Return a page of campaigns without their signed commands, the newest first, and whether there are more.

    `user_id` None: everybody's. `status`: `open` or `complete`, empty for both.

    Raises:
        InvalidArgument: the order or the cursor makes no sense.

    """
    statement = select(Campaign).options(defer(Campaign.command))  # type: ignore[arg-type]
    if user_id is not None:
        statement = statement.where(col(Campaign.user_id) == user_id)
    if status:
        statement = statement.where(col(Campaign.status) == status)
    newest = col(Campaign.id).desc()
    return await page_of(session, statement, options, order_keys=_ORDER_KEYS, row_id=newest, search=[col(Campaign.sql)])


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


async def awaits_only(session: AsyncSession, campaign: Campaign, teams: VisibleTeams) -> bool:
    """Whether every host that the campaign is still to ask is in one of these teams now (None: any).

    Gateways ask nobody outside the teams that it was started for.
    """
    if teams is None:
        return True
    statement = select(col(LedgerRow.host_id)).where(func.coalesce(~one_of(col(Host.team_id), teams), True)).limit(1)
    return bool(teams) and await session.scalar(_of_awaited(statement, campaign)) is None


async def awaited_teams(session: AsyncSession, campaign: Campaign) -> frozenset[int]:
    """Return the teams of the hosts that the campaign is still to ask; those without a team are left out."""
    statement = select(col(Host.team_id)).where(col(Host.team_id).is_not(None)).distinct()
    found = await session.scalars(_of_awaited(statement, campaign))
    return frozenset(team_id for team_id in found if team_id is not None)


def _of_awaited(statement: Select[Any], campaign: Campaign) -> Select[Any]:
    """Narrow a selection to the hosts that a campaign is still to ask."""
    statement = (
        statement.select_from(LedgerRow)
        .join(Host, col(Host.id) == col(LedgerRow.host_id))
        .where(col(LedgerRow.campaign_id) == campaign.id, col(LedgerRow.state) == "pending")
    )
    if campaign.allowed_team_ids is not None:
        allowed = campaign.allowed_team_ids
        statement = statement.where(func.coalesce(col(Host.team_id), 0) == any_(cast(allowed, ARRAY(BigInteger))))
    return statement
