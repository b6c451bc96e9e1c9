"""What one viewer of a campaign gets: a cursor on the stream of answers, with totals and status in between.

Entries are read only as fast as the viewer takes them: nothing is kept for it in memory but the few of one read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from flotilla_common.bus import outage
from flotilla_common.contracts.campaigns import CampaignViewedV1
from flotilla_common.db.models.live_query import Campaign

from admin_api.deps import Deps
from admin_api.domain import campaigns, sessions
from admin_api.domain.campaign_progress import ANSWERS, HostNames, Progress, result_message
from admin_api.domain.sockjs import HEARTBEAT_SECONDS
from admin_api.errors import Unauthenticated
from admin_api.routes.campaign_sockets import Refused, ViewerSocket
from admin_api.store import campaign_rows, hosts
from admin_api.store import campaigns as campaign_store
from admin_api.store.campaign_rows import START, RowsEntry

log = structlog.get_logger()

NEWS_SECONDS = 5.0
OUTAGE_SECONDS = 1.0


class CampaignFeed:
    """Feeds one viewer, who showed `token` and may watch `campaign`, from position `last` on."""

    def __init__(self, deps: Deps, socket: ViewerSocket, token: str, campaign: Campaign, last: str) -> None:
        self._deps = deps
        self._socket = socket
        self._token = token
        self._campaign = campaign
        self._id = campaign.id or 0
        self._position = last
        self._progress = Progress()
        self._ended = False
        self._behind = False
        self._clock = asyncio.get_running_loop().time
        self._next_news = self._clock()
        self._next_beat = self._clock() + HEARTBEAT_SECONDS

    async def run(self) -> None:
        """Feed until cancelled; a part that is down is waited for.

        Raises:
            Refused: the viewer may not watch any more.

        """
        await self._through_outages(self._count_seen)
        while True:
            await self._through_outages(self._step)

    async def _through_outages(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except outage.kinds() as error:
                if isinstance(error, TimeoutError):
                    raise  # the viewer does not take what is sent
                log.warning("viewer waits for a part that is down", campaign_id=self._id, error=repr(error))
                await asyncio.sleep(OUTAGE_SECONDS)
            else:
                return

    async def _count_seen(self) -> None:
        """Somebody who goes on from a position has seen what is before it: count that, for a true status."""
        progress, position = Progress(), START
        while self._position != START:
            entries = await campaign_rows.before(self._deps.redis, self._id, position, self._position)
            if not entries:
                break
            position = entries[-1].position
            for entry in entries:
                progress.count(entry)
        self._progress = progress
        waiting = await campaign_rows.read(self._deps.redis, self._id, self._position, block_ms=0)
        self._behind = bool(waiting)

    async def _step(self) -> None:
        await self._tell_viewed()
        if self._clock() >= self._next_news:
            await self._tell_news()
        if self._clock() >= self._next_beat:
            self._next_beat = self._clock() + HEARTBEAT_SECONDS
            await self._socket.beat()
        pause = max(min(self._next_news, self._next_beat) - self._clock(), 0.001)
        if self._ended and not self._behind:
            await asyncio.sleep(pause)  # nothing comes any more; the viewer closes when it has seen enough
            return
        entries = await campaign_rows.read(self._deps.redis, self._id, self._position, block_ms=int(pause * 1000))
        await self._pass_on(entries)
        self._behind = len(entries) == campaign_rows.ENTRIES_AT_ONCE

    async def _pass_on(self, entries: list[RowsEntry]) -> None:
        names = await self._names(entries)
        for entry in entries:
            if entry.outcome in ANSWERS:
                await self._socket.send(result_message(self._id, entry, names.get(entry.host_id, HostNames())))
                self._progress.count(entry)
            self._ended = self._ended or entry.is_end
            self._position = entry.position

    async def _names(self, entries: list[RowsEntry]) -> dict[int, HostNames]:
        wanted = {entry.host_id for entry in entries if entry.outcome in ANSWERS}
        if not wanted:
            return {}
        async with self._deps.sessions.begin() as session:
            rows = await hosts.by_ids(session, wanted, self._deps.clock())
        return {row.host_id: HostNames(row.host.hostname, row.display_name) for row in rows}

    async def _tell_news(self) -> None:
        """Look again: who is online now, is the campaign still open, may the viewer still watch."""
        now = self._deps.clock()
        async with self._deps.sessions.begin() as session:
            try:
                viewer = await sessions.authenticate(
                    session, self._token, now=now, lifetime_seconds=self._deps.settings.session_seconds
                )
            except Unauthenticated as error:
                raise Refused("unauthorized") from error
            if not await campaigns.may_watch(session, viewer, self._campaign):
                raise Refused("forbidden")
            totals = await campaign_store.totals(session, self._id, now)
            self._ended = self._ended or not await campaign_store.is_open(session, self._id)
        self._next_news = self._clock() + NEWS_SECONDS
        for text in self._progress.news(totals, ended=self._ended, caught_up=not self._behind):
            await self._socket.send(text)

    async def _tell_viewed(self) -> None:
        if self._ended or not self._deps.views.is_due(self._id, self._clock()):
            return
        await self._deps.bus.send(CampaignViewedV1(campaign_id=self._id))
