"""Rows of segments: which answers of a campaign are in the blob store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.campaign_archive import START, Position
from flotilla_common.db.models.live_query import Campaign, CampaignSegment, LedgerRow
from sqlalchemy import BigInteger, any_, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

SETTLED_BY_ANSWER = ("answered", "failed", "denylisted")


@dataclass(frozen=True)
class Archived:
    """How far a campaign is archived: the number of its next segment, and the last position that is in one."""

    following: int
    last: Position


async def reached(session: AsyncSession, campaign_id: int) -> Archived:
    """Return how far a campaign is archived."""
    statement = (
        select(col(CampaignSegment.number), col(CampaignSegment.last_ms), col(CampaignSegment.last_number))
        .where(col(CampaignSegment.campaign_id) == campaign_id)
        .order_by(col(CampaignSegment.number).desc())
        .limit(1)
    )
    row = (await session.execute(statement)).one_or_none()
    return Archived(0, START) if row is None else Archived(row[0] + 1, Position(row[1], row[2]))


async def add(session: AsyncSession, segment: CampaignSegment) -> bool:
    """Record a segment; False when the campaign has one of this number, from another replica."""
    values = segment.model_dump(exclude={"created_at"})
    statement = insert(CampaignSegment).values(values).on_conflict_do_nothing().returning(col(CampaignSegment.number))
    return (await session.execute(statement)).one_or_none() is not None


async def hosts_settled(session: AsyncSession, campaign_id: int, host_ids: Collection[int]) -> list[int]:
    """Return those of these hosts whose answer is in the ledger."""
    statement = select(col(LedgerRow.host_id)).where(
        col(LedgerRow.campaign_id) == campaign_id,
        col(LedgerRow.host_id) == any_(cast(list(host_ids), ARRAY(BigInteger))),
        col(LedgerRow.state).in_(SETTLED_BY_ANSWER),
    )
    return list((await session.execute(statement)).scalars())


async def hosts_of(session: AsyncSession, campaign_id: int, number: int) -> bytes:
    """Return the bitmap of the hosts in a segment."""
    statement = select(col(CampaignSegment.hosts)).where(
        col(CampaignSegment.campaign_id) == campaign_id, col(CampaignSegment.number) == number
    )
    return (await session.execute(statement)).scalar_one()


async def finishable(session: AsyncSession, cleared_before: datetime, limit: int) -> list[int]:
    """Return campaigns that ended, and whose viewers were told so before a time, that are not archived."""
    statement = (
        select(col(Campaign.id))
        .where(col(Campaign.archived_at).is_(None), col(Campaign.cleared_at) < cleared_before)
        .order_by(col(Campaign.cleared_at))
        .limit(limit)
    )
    return [found for found in (await session.execute(statement)).scalars() if found is not None]


async def unarchived(session: AsyncSession) -> set[int]:
    """Return all campaigns that may have answers in Redis."""
    ended = select(col(Campaign.id)).where(col(Campaign.archived_at).is_(None))
    return {
        found
        for statement in (
            select(col(Campaign.id)).where(col(Campaign.status) == "open"),
            ended.where(col(Campaign.status) == "complete", col(Campaign.cleared_at).is_(None)),
            ended.where(col(Campaign.cleared_at).is_not(None)),
        )
        for found in (await session.execute(statement)).scalars()
        if found is not None
    }


async def oldest_waiting(session: AsyncSession) -> datetime | None:
    """Return since when the campaign waits that has waited longest to be archived."""
    statement = select(func.min(col(Campaign.cleared_at))).where(
        col(Campaign.archived_at).is_(None), col(Campaign.cleared_at).is_not(None)
    )
    found: datetime | None = await session.scalar(statement)
    return found


async def finish(session: AsyncSession, campaign_id: int, now: datetime) -> None:
    """Note that nothing of an ended campaign is in Redis alone."""
    await session.execute(
        update(Campaign)
        .where(col(Campaign.id) == campaign_id, col(Campaign.cleared_at).is_not(None))
        .values(archived_at=now)
    )


async def known(session: AsyncSession, campaign_ids: Collection[int]) -> dict[int, bool]:
    """Return those of these campaigns that exist, and whether all of each one's answers are archived."""
    statement = select(col(Campaign.id), col(Campaign.archived_at).is_not(None)).where(
        col(Campaign.id) == any_(cast(sorted(campaign_ids), ARRAY(BigInteger)))
    )
    return {campaign_id or 0: archived for campaign_id, archived in await session.execute(statement)}


async def outdated(session: AsyncSession, ended_before: datetime, limit: int) -> Sequence[int]:
    """Return archived campaigns whose results are kept no longer, and those whose removal was broken off."""
    ended = select(col(Campaign.id)).where(
        col(Campaign.archived_at).is_not(None),
        col(Campaign.results_removed_at).is_(None),
        col(Campaign.ended_at) < ended_before,
    )
    broken_off = (
        select(col(Campaign.id))
        .join(CampaignSegment, col(CampaignSegment.campaign_id) == col(Campaign.id))
        .where(col(Campaign.results_removed_at).is_not(None))
    )
    found = await session.execute(ended.union(broken_off).limit(limit))
    return [campaign_id for campaign_id in found.scalars() if campaign_id is not None]


async def note_removal(session: AsyncSession, campaign_id: int, now: datetime) -> None:
    """Note that a campaign's results go: nobody reads them from now on."""
    await session.execute(
        update(Campaign)
        .where(col(Campaign.id) == campaign_id)
        .values(results_removed_at=func.coalesce(col(Campaign.results_removed_at), now))
    )


async def remove(session: AsyncSession, campaign_id: int) -> None:
    """Forget a campaign's segments: their objects are gone."""
    await session.execute(delete(CampaignSegment).where(col(CampaignSegment.campaign_id) == campaign_id))
