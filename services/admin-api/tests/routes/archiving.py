"""Moves answers of a campaign to the archive, as live-query does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flotilla_common.blobs import Blobs
from flotilla_common.campaign_archive import START, Position, StreamEntry, encode, segment_object
from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.db.models.live_query import Campaign, CampaignSegment
from sqlalchemy import update
from sqlmodel import col

from .conftest import LiveQuery


@dataclass
class Archivist:
    """Archives the oldest answers of the stream; `cut` decides whether they leave it."""

    live_query: LiveQuery
    blobs: Blobs

    async def segment(self, campaign_id: int, answers: int, *, cut: bool = True) -> str:
        """Move so many answers into a segment of their own; return its object."""
        redis, key = self.live_query.redis, campaign_rows(campaign_id)
        number, last = await self._reached(campaign_id)
        found = await redis.xrange(key, f"({last}", "+", count=answers)
        entries = [StreamEntry(Position.parse(place.decode()), fields) for place, fields in found]
        name = segment_object(campaign_id, number, entries[-1].position)
        await self.blobs.put(name, encode(entries))
        await self.live_query.database.add(row_of(campaign_id, number, name, entries))
        if cut:
            await self.cut(campaign_id, entries[-1].position)
        return name

    async def cut(self, campaign_id: int, last: Position) -> None:
        following = f"{last.milliseconds}-{last.number + 1}"
        await self.live_query.redis.xtrim(campaign_rows(campaign_id), minid=following, approximate=False)

    async def finish(self, campaign_id: int) -> None:
        """All is in segments: nothing stays in Redis."""
        await self._write(archived_at=datetime.now(UTC), campaign_id=campaign_id)
        await self.live_query.redis.delete(campaign_rows(campaign_id))

    async def remove(self, campaign_id: int) -> None:
        """Results are kept no longer; the objects go a moment later."""
        await self._write(results_removed_at=datetime.now(UTC), campaign_id=campaign_id)

    async def _write(self, campaign_id: int, **values: Any) -> None:
        async with self.live_query.database.sessions("live_query").begin() as session:
            await session.execute(update(Campaign).where(col(Campaign.id) == campaign_id).values(**values))

    async def _reached(self, campaign_id: int) -> tuple[int, Position]:
        mine = [row for row in await self.live_query.database.rows(CampaignSegment) if row.campaign_id == campaign_id]
        return len(mine), max((Position(row.last_ms, row.last_number) for row in mine), default=START)


def row_of(campaign_id: int, number: int, name: str, entries: list[StreamEntry]) -> CampaignSegment:
    answered = [entry for entry in entries if entry.fields[b"outcome"] == b"answered" and not entry.fields[b"error"]]
    with_rows = sum(entry.fields[b"rows"] != b"[]" for entry in answered)
    first, last = entries[0].position, entries[-1].position
    return CampaignSegment(
        campaign_id=campaign_id, number=number, object_name=name, first_ms=first.milliseconds,
        first_number=first.number, last_ms=last.milliseconds, last_number=last.number, answers=len(entries),
        with_rows=with_rows, without_rows=len(answered) - with_rows, rows=0, size=0, stored_size=0,
        hosts=bytes_of(int(entry.fields[b"host"]) for entry in entries), created_at=datetime.now(UTC),
    )  # fmt: skip
