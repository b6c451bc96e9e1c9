"""What one viewer of a campaign gets: a cursor on its answers, with totals and status in between.

Answers are read only as fast as the viewer takes them: nothing is kept for it in memory but the few of one read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from flotilla_common.bus import outage
from flotilla_common.db.models.live_query import Campaign

from admin_api.deps import Deps
from admin_api.domain.campaign_progress import (
    ANSWERS,
    Progress,
    Rows,
    missing_message,
    names_of,
    result_message,
    rows_of,
)
from admin_api.domain.sockjs import HEARTBEAT_SECONDS
from admin_api.routes.campaign_sockets import ViewerSocket
from admin_api.routes.campaign_traces import ViewerTrace
from admin_api.store import campaign_hosts
from admin_api.store import campaigns as campaign_store
from admin_api.store.campaign_hosts import HostInSight
from admin_api.store.campaign_rows import MOST_ENTRIES, START, RowsEntry, is_full
from admin_api.store.host_scope import VisibleTeams

log = structlog.get_logger()

NEWS_SECONDS = 5.0
OUTAGE_SECONDS = 1.0
LARGE_READ = 1024 * 1024  # bytes of rows in one read; after a larger one the next read takes a single entry
GATHER_SECONDS = 0.1  # from one read to the next, where that one left none: answers of a fleet come one by one
SIGHT_SECONDS = 1.0  # then it is looked up again who may be seen, though a slow viewer has not taken all of a read


class CampaignFeed:
    """Feeds one viewer, who may watch `campaign` and sees hosts of `teams`, from position `last` on."""

    def __init__(self, deps: Deps, socket: ViewerSocket, campaign: Campaign, last: str, teams: VisibleTeams) -> None:
        self._deps = deps
        self._socket = socket
        self._id = campaign.id or 0
        self._position = last
        self._teams = teams
        self._count = 1
        self._progress = Progress()
        self._is_open = True
        self._ended = False
        self._behind = False
        self._clock = asyncio.get_running_loop().time
        self._trace = ViewerTrace(b"", self._clock)
        self._next_read = self._next_news = self._clock()
        self._next_beat = self._clock() + HEARTBEAT_SECONDS

    @property
    def ended(self) -> bool:
        """Whether the viewer has all that will ever come."""
        return self._ended

    def see(self, teams: VisibleTeams) -> None:
        """Show hosts of these teams from now on: the viewer's rights as they were just looked up."""
        self._teams = teams

    async def run(self) -> None:
        """Feed until cancelled; a part that is down is waited for."""
        await self._through_outages(self._begin)
        while True:
            await self._through_outages(self._step)

    async def _through_outages(self, step: Callable[[], Awaitable[None]]) -> None:
        waiting = False
        while True:
            try:
                await step()
            except outage.kinds() as error:
                if not waiting:
                    log.warning("viewer waits for a part that is down", campaign_id=self._id, error=repr(error))
                waiting = True
                await asyncio.sleep(OUTAGE_SECONDS)
            else:
                return

    async def _begin(self) -> None:
        """Find the trace to go on with, and how far the viewer is.

        Somebody who goes on from a position has seen what is before it: that counts, for a true status.
        """
        async with self._deps.sessions.begin() as session:
            self._trace = ViewerTrace(await campaign_store.command_of(session, self._id), self._clock)
        self._progress = await self._seen_before() if self._position != START else Progress()
        waiting = await self._deps.results.now(self._id, self._position, count=1)
        self._behind = any(not entry.is_end for entry in waiting)

    async def _seen_before(self) -> Progress:
        progress, position, is_limited = Progress(), START, self._teams is not None
        async with self._deps.sessions.begin() as session:
            sight = await campaign_hosts.sight_of(session, self._teams)
        while True:
            if is_limited or position == START:
                counts = await self._deps.results.counted(self._id, position, self._position, sight)
                progress.add(counts)
                position = str(counts.last)
            entries = await self._deps.results.before(self._id, position, self._position)
            if not entries:
                return progress
            position = entries[-1].position
            for entry in entries:
                progress.count(entry, in_sight=sight is None or entry.host_id in sight)

    async def _step(self) -> None:
        if self._clock() >= self._next_news:
            await self._tell_news()
        if self._clock() >= self._next_beat:
            self._next_beat = self._clock() + HEARTBEAT_SECONDS
            await self._socket.beat()
        pause = max(min(self._next_news, self._next_beat) - self._clock(), 0.001)
        if self._ended:
            await asyncio.sleep(pause)  # the viewer closes when it has seen enough
        else:
            await self._read(int(pause * 1000))

    async def _read(self, block_ms: int) -> None:
        await asyncio.sleep(self._next_read - self._clock())
        was_open, began = self._is_open, self._clock()
        entries = await self._deps.results.read(self._id, self._position, block_ms=block_ms, count=self._count)
        waiting = entries
        while waiting:
            waiting = await self._pass_on(waiting)
        # What a campaign has got is in the stream before it is complete: once it is, an empty read is the end of it.
        self._ended = self._ended or not (was_open or entries)
        is_long = len(entries) == self._count or is_full(entries, self._count)
        more_may_follow = is_long or any(entry.is_archived for entry in entries)
        self._behind = more_may_follow and not self._ended
        self._next_read = self._clock() if more_may_follow or not entries else began + GATHER_SECONDS
        if self._ended or (self._progress.looks_finished and not self._behind):
            self._next_news = self._clock()
        self._count = (
            1 if sum(len(entry.rows) for entry in entries) > LARGE_READ else min(2 * self._count, MOST_ENTRIES)
        )

    async def _pass_on(self, entries: list[RowsEntry]) -> list[RowsEntry]:
        """Send answers for SIGHT_SECONDS; return those that are left."""
        began, until, number = time.time_ns(), self._clock() + SIGHT_SECONDS, 0
        sight = await self._in_sight(entries)
        sent: list[RowsEntry] = []
        while number < len(entries) and (number == 0 or self._clock() < until):
            entry = entries[number]
            if await self._show(entry, sight.get(entry.host_id)):
                sent.append(entry)
            self._ended = self._ended or entry.is_end
            self._position = entry.position
            number += 1
        self._trace.sent(sent, began)
        return entries[number:]

    async def _show(self, entry: RowsEntry, host: HostInSight | None) -> bool:
        """Send an entry and count it; return whether it was an answer that the viewer may see (`host`: it may)."""
        if entry.missing is not None:
            await self._socket.send(missing_message(self._id, entry.missing))
            self._progress.count(entry)
        if entry.outcome not in ANSWERS:
            return False
        rows = Rows()
        if host is not None:
            rows = rows_of(entry)
            text = result_message(self._id, entry, names_of(host), rows)
            rows = rows[:1]  # enough to count by; the others need not wait for a slow viewer
            await self._socket.send(text)
        self._progress.count(entry, in_sight=host is not None, rows=rows)
        return host is not None

    async def _in_sight(self, entries: list[RowsEntry]) -> Mapping[int, HostInSight]:
        """Look up, right before they are sent, whose answers the viewer may see."""
        wanted = {entry.host_id for entry in entries if entry.outcome in ANSWERS}
        if not wanted:
            return {}
        async with self._deps.sessions.begin() as session:
            return await campaign_hosts.in_sight(session, wanted, self._teams)

    async def _tell_news(self) -> None:
        """Look again who is online and whether hosts are still asked; the last news come with the end."""
        async with self._deps.sessions.begin() as session:
            totals = await campaign_store.totals(session, self._id, self._deps.clock())
            standing = await campaign_store.standing(session, self._id)
        self._is_open = standing.is_open
        self._next_news = float("inf") if self._ended else self._clock() + NEWS_SECONDS
        for text in self._progress.news(totals, standing, ended=self._ended, caught_up=not self._behind):
            await self._socket.send(text)
