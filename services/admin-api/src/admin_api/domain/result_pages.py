"""Rows of a campaign's answers in pages, and all of them: those of hosts that the viewer may see."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.domain.answer_rows import column_names
from admin_api.domain.campaign_progress import ANSWERED, rows_of
from admin_api.errors import InvalidArgument
from admin_api.store import campaign_hosts, campaign_segments
from admin_api.store.campaign_hosts import HostInSight
from admin_api.store.campaign_results import CampaignResults
from admin_api.store.campaign_rows import START, MissingAnswers, RowsEntry
from admin_api.store.host_scope import VisibleTeams

PAGE_BYTES = 8 * 1024 * 1024  # of rows on a page; then the answer that reaches it is the last
LOOKED_AT_BYTES = 64 * 1024 * 1024  # of answers that are passed over for one page
_CURSOR = re.compile(r"([0-9]{1,18}-[0-9]{1,18})(?:\.([0-9]{1,9}))?")


class Cursor(NamedTuple):
    """A place between rows: behind the answer at `position`, and so many rows of the next one."""

    position: str = START
    rows: int = 0

    def __str__(self) -> str:
        return f"{self.position}.{self.rows}" if self.rows else self.position


def cursor_of(text: str) -> Cursor:
    """Read a cursor; an empty text is the beginning.

    Raises:
        InvalidArgument: it is none.

    """
    if not text:
        return Cursor()
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InvalidArgument("after", "after must be what an earlier page said in meta.next")
    return Cursor(found[1], int(found[2] or 0))


@dataclass(frozen=True)
class ResultRow:
    """A row that a host answered, every value a text."""

    host: HostInSight
    settled_at: str
    columns: Mapping[str, str]


@dataclass
class Page:
    """Rows in the order of the stream. `following` goes on behind them; there may be more only if `has_more`.

    `missing`: what is lost between them.
    """

    rows: list[ResultRow] = field(default_factory=list)
    missing: list[MissingAnswers] = field(default_factory=list)
    following: Cursor = field(default_factory=Cursor)
    has_more: bool = False


@dataclass(frozen=True)
class ResultReader:
    """Reads rows of a campaign for somebody who may see hosts of `teams`; of one host alone when `host_id` is given."""

    sessions: async_sessionmaker[AsyncSession]
    results: CampaignResults
    campaign_id: int
    teams: VisibleTeams
    host_id: int | None = None

    async def removed_at(self) -> datetime | None:
        """Return since when the results are kept no longer; None: they are."""
        async with self.sessions.begin() as session:
            return (await campaign_segments.state(session, self.campaign_id)).removed_at

    async def page(self, after: Cursor, limit: int) -> Page:
        """Return at most so many rows behind a place.

        A page may be short, or empty, and still have more behind it: there is a limit to what is looked at for one.
        """
        page, size, looked_at = Page(following=after), 0, 0
        while True:
            found = await self._answers(page.following)
            names = await self._in_sight(found)
            for entry in found:
                if entry.is_end:
                    return page
                page.missing += [entry.missing] if entry.missing is not None else []
                rows = self._rows(entry, names)
                taken = rows[page.following.rows :][: limit - len(page.rows)]
                page.rows += taken
                size += len(entry.rows) if taken else 0
                looked_at += len(entry.rows)
                given = page.following.rows + len(taken)
                if given < len(rows):
                    page.following, page.has_more = Cursor(page.following.position, given), True
                    return page
                page.following = Cursor(entry.position)
                if self.host_id == entry.host_id:
                    return page  # a host answers once
                if len(page.rows) >= limit or size >= PAGE_BYTES or looked_at >= LOOKED_AT_BYTES:
                    page.has_more = await self._has_more(entry.position)
                    return page
            if not found:
                return page

    async def all(
        self, after: str = START, until: str | None = None
    ) -> AsyncIterator[tuple[str, Sequence[ResultRow] | MissingAnswers]]:
        """Yield the rows of each answer with its position: all there are behind a place, or those up to a position.

        Where answers are lost comes what is known of them, with the position of the last one.
        """
        async for entry, names in self._each(after, until):
            yield entry.position, entry.missing or self._rows(entry, names)

    async def columns(self, after: str = START) -> AsyncIterator[tuple[str, Sequence[str] | MissingAnswers]]:
        """Yield the names of the columns of each answer's rows, with its position; or what is lost, as `all` does."""
        async for entry, names in self._each(after):
            shown = entry.host_id in names and entry.outcome == ANSWERED
            yield entry.position, entry.missing or (column_names(entry.rows) if shown else [])

    async def _each(
        self, after: str, until: str | None = None
    ) -> AsyncIterator[tuple[RowsEntry, Mapping[int, HostInSight]]]:
        position = after
        while position != until:
            found = await self._answers(Cursor(position))
            names = await self._in_sight(found)
            for entry in found:
                if entry.is_end:
                    return
                yield entry, names
                position = entry.position
                if position == until or self.host_id == entry.host_id:
                    return
            if not found:
                return

    async def _answers(self, after: Cursor) -> list[RowsEntry]:
        position = after.position
        if self.host_id is not None and not after.rows:
            position = await self.results.skipped_to(self.campaign_id, position, self.host_id)
        return await self.results.now(self.campaign_id, position)

    async def _has_more(self, position: str) -> bool:
        return any(not entry.is_end for entry in await self.results.now(self.campaign_id, position, count=1))

    async def _in_sight(self, entries: Sequence[RowsEntry]) -> Mapping[int, HostInSight]:
        wanted = {entry.host_id for entry in entries if entry.outcome == ANSWERED}
        if self.host_id is not None:
            wanted &= {self.host_id}
        if not wanted:
            return {}
        async with self.sessions.begin() as session:
            return await campaign_hosts.in_sight(session, wanted, self.teams)

    def _rows(self, entry: RowsEntry, names: Mapping[int, HostInSight]) -> list[ResultRow]:
        host = names.get(entry.host_id)
        if host is None or entry.outcome != ANSWERED:
            return []
        return [ResultRow(host, entry.settled_at, row) for row in rows_of(entry)]
