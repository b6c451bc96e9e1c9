"""Rows of campaigns. Their ends are serialized by an advisory lock each: answers share it, an end has it alone.

A campaign is open until its ledger is closed, and running as long as hosts are to be asked: before its deadline, and
nobody has ended it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flotilla_common.db.models.live_query import Campaign, CampaignBudget, LedgerRow
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    any_,
    case,
    cast,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

CHANNEL = "live_query_campaigns"
_LOCK = "hashtextextended('live_query.campaign', campaign_id)"


@dataclass(frozen=True)
class CampaignState:
    """What an answer or an end must know of a campaign."""

    campaign_id: int
    kind: str
    open: bool
    deadline: datetime
    end_reason: str | None
    created_at: datetime
    trace_id: str


async def add(session: AsyncSession, campaign: Campaign) -> int:
    """Insert a campaign and return its id."""
    values = campaign.model_dump(exclude_unset=True)
    result = await session.execute(insert(Campaign).values(**values).returning(col(Campaign.id)))
    return int(result.scalar_one() or 0)


async def next_id(session: AsyncSession) -> int:
    """Return a fresh campaign id: the signed command names it before the row exists."""
    return int((await session.execute(text("SELECT nextval('live_query.campaigns_id_seq')"))).scalar_one())


async def seize_request(session: AsyncSession, request_id: UUID) -> None:
    """Keep everybody else from starting a campaign for a request until the transaction ends."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('live_query.request ' || :id, 0))"), {"id": str(request_id)}
    )


async def by_request(session: AsyncSession, request_id: UUID) -> Campaign | None:
    """Return the campaign that a request has started."""
    found = await session.execute(select(Campaign).where(col(Campaign.request_id) == request_id))
    return found.scalar_one_or_none()


async def share(session: AsyncSession, campaign_ids: Collection[int]) -> dict[int, CampaignState]:
    """Keep these campaigns from ending until the transaction does, and return those that exist."""
    await _lock(session, "pg_advisory_xact_lock_shared", campaign_ids)
    return {state.campaign_id: state for state in await _states(session, campaign_ids)}


async def seize(session: AsyncSession, campaign_id: int) -> CampaignState | None:
    """Keep answers and other ends away from a campaign until the transaction ends; None when it does not exist."""
    await _lock(session, "pg_advisory_xact_lock", [campaign_id])
    return next(iter(await _states(session, [campaign_id])), None)


async def seize_all(session: AsyncSession, campaign_ids: Collection[int]) -> None:
    """Like `seize` for several, in one order for everybody, so that nobody waits in a circle."""
    await _lock(session, "pg_advisory_xact_lock", campaign_ids)


async def seize_free(session: AsyncSession, campaign_ids: Collection[int]) -> list[int]:
    """Like `seize_all`, but passes over those that somebody else has now; return those that are seized."""
    found = await session.execute(
        text(
            "SELECT campaign_id FROM unnest(CAST(:ids AS bigint[])) AS ids(campaign_id)"  # noqa: S608 - as in `_lock`
            f" WHERE pg_try_advisory_xact_lock({_LOCK})"
        ),
        {"ids": list(campaign_ids)},
    )
    return list(found.scalars())


async def _lock(session: AsyncSession, function: str, campaign_ids: Collection[int]) -> None:
    await session.execute(
        text(
            f"SELECT {function}({_LOCK}) FROM"  # noqa: S608 - both are constants of this module
            " (SELECT campaign_id FROM unnest(CAST(:ids AS bigint[])) AS ids(campaign_id) ORDER BY campaign_id) ordered"
        ),
        {"ids": sorted(campaign_ids)},
    )


async def _states(session: AsyncSession, campaign_ids: Collection[int]) -> list[CampaignState]:
    found = await session.execute(_select_state().where(_among(campaign_ids)))
    return [_state_of(row) for row in found]


async def exists_at_all(session: AsyncSession, campaign_id: int) -> bool:
    """Whether there ever was such a campaign."""
    return (await session.execute(select(exists().where(col(Campaign.id) == campaign_id)))).scalar_one()


async def is_running(session: AsyncSession, campaign_id: int, now: datetime) -> bool:
    """Whether hosts are to be asked, sooner or later: it may be paused."""
    statement = select(exists().where(col(Campaign.id) == campaign_id, *_running(now)))
    return (await session.execute(statement)).scalar_one()


async def decide_end(session: AsyncSession, campaign_id: int, reason: str, now: datetime) -> bool:
    """Record that a running campaign ends now for this reason; False when it does not run any more."""
    result = await session.execute(
        update(Campaign)
        .where(col(Campaign.id) == campaign_id, *_running(now))
        .values(end_reason=reason, deadline=now)
        .returning(col(Campaign.id))
    )
    return result.first() is not None


async def pause(session: AsyncSession, campaign_id: int, reason: str, now: datetime) -> bool:
    """Record that a running campaign asks nobody from now on.

    False when it does not run, is paused already, or waits for nobody any more: that one is complete in a moment.
    """
    result = await session.execute(
        update(Campaign)
        .where(col(Campaign.id) == campaign_id, *_asking(now), _waits())
        .values(paused_at=now, pause_reason=reason)
        .returning(col(Campaign.id))
    )
    return result.first() is not None


async def resume(session: AsyncSession, campaign_id: int, now: datetime) -> datetime | None:
    """Record that a paused campaign asks again; return since when it was paused, None if it does not run or was not."""
    paused = [col(Campaign.id) == campaign_id, *_running(now), col(Campaign.paused_at).is_not(None)]
    paused_at: datetime | None = await session.scalar(select(col(Campaign.paused_at)).where(*paused).with_for_update())
    if paused_at is not None:
        ended = {"paused_at": None, "pause_reason": None}
        await session.execute(update(Campaign).where(col(Campaign.id) == campaign_id).values(ended))
    return paused_at


async def complete(session: AsyncSession, campaign_id: int, reason: str, now: datetime) -> None:
    """Mark a seized campaign complete, and no more paused; a reason that was decided before stays."""
    await session.execute(update(Campaign).where(col(Campaign.id) == campaign_id).values(**_completed(reason, now)))


async def complete_settled(
    session: AsyncSession, campaign_ids: Collection[int], reason: str, now: datetime
) -> dict[int, str]:
    """Mark those of these seized campaigns complete that wait for nobody; return campaign -> why it ended."""
    statement = (
        update(Campaign)
        .where(_among(campaign_ids), col(Campaign.status) == "open", ~_waits())
        .values(**_completed(reason, now))
        .returning(col(Campaign.id), col(Campaign.end_reason))
        .execution_options(synchronize_session=False)
    )
    return {campaign_id or 0: why or reason for campaign_id, why in await session.execute(statement)}


def _completed(reason: str, now: datetime) -> dict[str, Any]:
    return {
        "status": "complete",
        "end_reason": func.coalesce(col(Campaign.end_reason), reason),
        "ended_at": now,
        "paused_at": None,
        "pause_reason": None,
    }


async def mark_cleared(session: AsyncSession, campaign_ids: Collection[int], now: datetime) -> None:
    """Remember that gateways and viewers have been told of these ends."""
    statement = update(Campaign).where(_among(campaign_ids)).values(cleared_at=now)
    await session.execute(statement.execution_options(synchronize_session=False))


async def uncleared(session: AsyncSession, limit: int) -> dict[int, str]:
    """Return complete campaigns, with the reason of their end, whose end has not been told everywhere."""
    statement = select(col(Campaign.id), func.coalesce(col(Campaign.end_reason), "")).where(
        col(Campaign.status) == "complete", col(Campaign.cleared_at).is_(None)
    )
    found = await session.execute(statement.order_by(col(Campaign.id)).limit(limit))
    return {campaign_id or 0: reason for campaign_id, reason in found}


async def single_host_ids(session: AsyncSession, among: Collection[int]) -> set[int]:
    """Return those of these campaigns that target one host."""
    found = await session.execute(select(col(Campaign.id)).where(_among(among), col(Campaign.target_count) == 1))
    return set(_ids(found.scalars().all()))


async def remembered(session: AsyncSession, among: Collection[int], since: datetime) -> set[int]:
    """Return those of these campaigns whose end has not been told everywhere before a time."""
    statement = select(col(Campaign.id)).where(
        _among(among), or_(col(Campaign.cleared_at).is_(None), col(Campaign.cleared_at) >= since)
    )
    return set(_ids((await session.execute(statement)).scalars().all()))


async def due(session: AsyncSession, before: datetime) -> list[CampaignState]:
    """Return open campaigns whose deadline lies before a time, or whose end was decided."""
    statement = _select_state().where(
        col(Campaign.status) == "open", or_(col(Campaign.deadline) < before, col(Campaign.end_reason).is_not(None))
    )
    return [_state_of(row) for row in await session.execute(statement.order_by(col(Campaign.id)))]


async def settled(session: AsyncSession, among: Collection[int] | None = None) -> list[int]:
    """Return open campaigns (of these, or of all) that wait for no host any more."""
    statement = select(col(Campaign.id)).where(col(Campaign.status) == "open", ~_waits())
    if among is not None:
        statement = statement.where(_among(among))
    return _ids((await session.execute(statement.order_by(col(Campaign.id)))).scalars().all())


async def asking_ids(session: AsyncSession, now: datetime) -> set[int]:
    """Return the running campaigns that are not paused: those that gateways must know of."""
    return set(_ids((await session.execute(select(col(Campaign.id)).where(*_asking(now)))).scalars().all()))


async def ramped(session: AsyncSession, now: datetime) -> dict[int, int]:
    """Return how many hosts at a time those campaigns ask that ask so many, and ask now."""
    statement = (
        select(col(Campaign.id), col(CampaignBudget.hosts_at_a_time))
        .join(CampaignBudget, col(CampaignBudget.campaign_id) == col(Campaign.id))
        .where(*_asking(now), col(CampaignBudget.hosts_at_a_time).is_not(None))
    )
    return {campaign_id or 0: at_a_time or 0 for campaign_id, at_a_time in await session.execute(statement)}


async def running_ids(session: AsyncSession, now: datetime, among: Collection[int] | None = None) -> set[int]:
    """Return the running campaigns (of these, or of all), paused ones too."""
    statement = select(col(Campaign.id)).where(*_running(now))
    if among is not None:
        statement = statement.where(_among(among))
    return set(_ids((await session.execute(statement)).scalars().all()))


async def running_settled_ids(session: AsyncSession, now: datetime) -> set[int]:
    """Return the running campaigns of which any host is settled."""
    settled = exists().where(col(LedgerRow.campaign_id) == col(Campaign.id), col(LedgerRow.settled_at).is_not(None))
    return set(_ids((await session.execute(select(col(Campaign.id)).where(*_running(now), settled))).scalars().all()))


async def command_of(session: AsyncSession, campaign_id: int, now: datetime) -> tuple[bytes, str] | None:
    """Return the signed command of a campaign that asks, and the object with its targets (empty: they are in it)."""
    statement = select(col(Campaign.command), col(Campaign.targets_hash)).where(
        col(Campaign.id) == campaign_id, *_asking(now)
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1])


async def large_targets(session: AsyncSession, now: datetime) -> dict[int, str]:
    """Return running campaign -> the object that holds its targets, for those whose targets are many."""
    statement = select(col(Campaign.id), col(Campaign.targets_hash)).where(
        *_running(now), col(Campaign.targets_hash) != ""
    )
    return {campaign_id or 0: name for campaign_id, name in await session.execute(statement)}


async def watch(session: AsyncSession, campaign_id: int, now: datetime, until: datetime, longest: timedelta) -> None:
    """Note that somebody watches: a viewer campaign then lives on until `until`, `longest` after its start at most.

    A deadline that has passed stays: the campaign is over, only its ledger may not know yet.
    """
    moved = _later(until, longest)
    await session.execute(
        update(Campaign)
        .where(col(Campaign.id) == campaign_id, *_running(now))
        .values(
            last_viewed_at=now, deadline=case((col(Campaign.kind) == "viewer", moved), else_=col(Campaign.deadline))
        )
    )


async def spare_viewers(session: AsyncSession, until: datetime, longest: timedelta) -> None:
    """Let viewer campaigns live until a time at least, as `watch` does: nobody listened to their viewers meanwhile."""
    await session.execute(
        update(Campaign)
        .where(
            col(Campaign.kind) == "viewer",
            col(Campaign.status) == "open",
            col(Campaign.end_reason).is_(None),
            col(Campaign.deadline) < until,
        )
        .values(deadline=_later(until, longest))
    )


async def notify(session: AsyncSession, campaign_ids: Collection[int]) -> None:
    """Wake the keeper for these campaigns when the transaction commits."""
    await session.execute(
        text("SELECT pg_notify(:channel, CAST(id AS text)) FROM unnest(CAST(:ids AS bigint[])) AS ids(id)"),
        {"channel": CHANNEL, "ids": sorted(campaign_ids)},
    )


def _later(until: datetime, longest: timedelta) -> ColumnElement[datetime]:
    return func.greatest(col(Campaign.deadline), func.least(until, col(Campaign.created_at) + longest))


def _running(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (col(Campaign.status) == "open", col(Campaign.end_reason).is_(None), col(Campaign.deadline) > now)


def _asking(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (*_running(now), col(Campaign.paused_at).is_(None))


def _waits() -> ColumnElement[bool]:
    return exists().where(col(LedgerRow.campaign_id) == col(Campaign.id), col(LedgerRow.state) == "pending")


def _among(campaign_ids: Collection[int]) -> ColumnElement[bool]:
    return col(Campaign.id) == any_(cast(sorted(campaign_ids), ARRAY(BigInteger)))


def _ids(found: Collection[int | None]) -> list[int]:
    return [campaign_id for campaign_id in found if campaign_id is not None]


def _select_state() -> Select[int | None, str, str, datetime, str | None, datetime, str]:
    return select(
        col(Campaign.id),
        col(Campaign.kind),
        col(Campaign.status),
        col(Campaign.deadline),
        col(Campaign.end_reason),
        col(Campaign.created_at),
        col(Campaign.trace_id),
    )


def _state_of(row: Row[*tuple[Any, ...]]) -> CampaignState:
    is_open = row.status == "open"
    return CampaignState(row.id, row.kind, is_open, row.deadline, row.end_reason, row.created_at, row.trace_id)
