"""Reads of a campaign's archive: which segments there are, and their files in the blob store."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.blobs import Blobs
from flotilla_common.campaign_archive import START, Position
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.db.models.live_query import Campaign, CampaignSegment
from pyroaring import BitMap64
from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

KEPT_BYTES = 32 * 1024 * 1024
BITMAPS_AT_ONCE = 50
MOST_HOST_ID = 2**32 - 1  # in a bitmap


@dataclass(frozen=True)
class Segment:
    """A segment: the name of its file, the last position in it, and how many answers it has."""

    object_name: str
    last: Position
    answers: int = 0


@dataclass(frozen=True)
class Counts:
    """What segments up to `last` hold: answers, and those without an error, with and without rows."""

    answers: int = 0
    with_rows: int = 0
    without_rows: int = 0
    last: Position = START


_LAST = (col(CampaignSegment.last_ms), col(CampaignSegment.last_number))


async def following(session: AsyncSession, campaign_id: int, after: Position) -> Segment | None:
    """Return the first segment that has something behind a position."""
    statement = (
        select(col(CampaignSegment.object_name), *_LAST, col(CampaignSegment.answers))
        .where(col(CampaignSegment.campaign_id) == campaign_id, tuple_(*_LAST) > tuple_(*after))
        .order_by(col(CampaignSegment.number))
        .limit(1)
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else Segment(row[0], Position(row[1], row[2]), row[3])


async def before_host(session: AsyncSession, campaign_id: int, after: Position, host_id: int) -> Position:
    """Return from where on to look for a host's answer: all segments between `after` and there lack it."""
    while True:
        statement = (
            select(col(CampaignSegment.hosts), *_LAST)
            .where(col(CampaignSegment.campaign_id) == campaign_id, tuple_(*_LAST) > tuple_(*after))
            .order_by(col(CampaignSegment.number))
            .limit(BITMAPS_AT_ONCE)
        )
        rows = (await session.execute(statement)).all()
        for hosts, *last in rows:
            if host_id <= MOST_HOST_ID and host_id in bitmap_of(hosts):
                return after
            after = Position(*last)
        if len(rows) < BITMAPS_AT_ONCE:
            return after


@dataclass(frozen=True)
class ArchiveState:
    """Whether all answers of an ended campaign are in segments, or were; and since when they are kept no longer."""

    is_complete: bool = False
    removed_at: datetime | None = None


async def state(session: AsyncSession, campaign_id: int) -> ArchiveState:
    """Return how far a campaign is archived."""
    statement = select(col(Campaign.archived_at).is_not(None), col(Campaign.results_removed_at))
    row = (await session.execute(statement.where(col(Campaign.id) == campaign_id))).one_or_none()
    return ArchiveState() if row is None else ArchiveState(row[0], row[1])


async def counts(session: AsyncSession, campaign_id: int, until: Position) -> Counts:
    """Return what the segments hold that are not beyond a position."""
    sums = (CampaignSegment.answers, CampaignSegment.with_rows, CampaignSegment.without_rows)
    segments = (col(CampaignSegment.campaign_id) == campaign_id, tuple_(*_LAST) <= tuple_(*until))
    found = (await session.execute(select(*(func.sum(col(column)) for column in sums)).where(*segments))).one()
    last = select(*_LAST).where(*segments).order_by(col(CampaignSegment.number).desc()).limit(1)
    row = (await session.execute(last)).one_or_none()
    if row is None:
        return Counts()
    return Counts(int(found[0]), int(found[1]), int(found[2]), Position(*row))


async def counts_in_sight(
    session: AsyncSession, campaign_id: int, after: Position, until: Position, sight: BitMap64
) -> Counts:
    """Return what the next segments behind a position hold, as long as they end before `until` and all hosts are seen.

    Nothing when the position is within a segment: the rest of it must be read.
    """
    total = Counts(last=after)
    while True:
        statement = (
            select(CampaignSegment)
            .where(col(CampaignSegment.campaign_id) == campaign_id, tuple_(*_LAST) > tuple_(*total.last))
            .order_by(col(CampaignSegment.number))
            .limit(BITMAPS_AT_ONCE)
        )
        segments = (await session.execute(statement)).scalars().all()
        for one in segments:
            first, last = Position(one.first_ms, one.first_number), Position(one.last_ms, one.last_number)
            if first <= total.last or last > until or not BitMap64(bitmap_of(one.hosts)) <= sight:
                return total
            total = Counts(
                total.answers + one.answers,
                total.with_rows + one.with_rows,
                total.without_rows + one.without_rows,
                last,
            )
        if len(segments) < BITMAPS_AT_ONCE:
            return total


class SegmentFiles:
    """Files of segments, the last ones in memory: KEPT_BYTES of all viewers together. They never change."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    async def get(self, blobs: Blobs, name: str) -> bytes | None:
        """Return a segment's file, None when the blob store has no such object.

        Raises:
            Unavailable: the blob store does not answer.

        """
        data = self._kept.get(name)
        if data is None:
            data = await blobs.get(name)
            if data is not None:
                self._keep(name, data)
        else:
            self._kept.move_to_end(name)
        return data

    def forget(self, name: str) -> None:
        """Read a file anew the next time: what is in memory is of no use."""
        self._size -= len(self._kept.pop(name, b""))

    def _keep(self, name: str, data: bytes) -> None:
        if name not in self._kept:
            self._kept[name] = data
            self._size += len(data)
        while self._size > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)
