"""Housekeeping, by one replica at a time: end campaigns, tell gateways and viewers, repair what a crash left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.errors import Unavailable

from live_query import metrics
from live_query.consumers.announcements import LargeSets, announce_or_leave, forget, repair
from live_query.consumers.archiving import archiving
from live_query.consumers.carve_expiry import expire_carves
from live_query.consumers.done_sets import DoneSets
from live_query.consumers.on_app_config import keep_switch
from live_query.consumers.ramps import Ramps
from live_query.deps import Deps
from live_query.domain.campaigns import VIEWER_GRACE, VIEWER_LONGEST
from live_query.domain.ending import close, close_settled, leave
from live_query.domain.openings import finish
from live_query.store import answers_floor, campaigns, commands, keeper_lease, ledger, openings

log = structlog.get_logger()

LOOK_SECONDS = 1.0
REPAIR_SECONDS = 15.0
FORGET_SECONDS = 3600.0
SILENCE_SECONDS = 12.0  # the bus is asked every 5 s: then nobody hears of viewers
UNHEARD_SECONDS = 20.0  # after such a gap viewers are spared: they may have spoken to nobody
RETRY_SECONDS = 0.5
AT_ONCE = 100
OPENING_LASTS = timedelta(seconds=5)  # whoever works on one has it locked; so soon nobody need look


class Keeper:
    """What one replica does while it holds the lease. All of it can be repeated by the next one."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._done = DoneSets(deps)
        self._large = LargeSets(deps)
        self._ramps = Ramps(deps)
        self._withdrawn: set[int] = set()
        self._next_look = self._next_repair = self._next_forgetting = 0.0
        self._last_heard = -UNHEARD_SECONDS

    async def tick(self, changed: set[int]) -> float:
        """Do what is due, and see to campaigns that changed; return in how many seconds more is due, at most."""
        if changed:
            self._done.note(changed)
            await self._through(partial(self._complete, changed))
            await self._through(self._ramps.advance)
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            for duty in (self._open, self._spare, self._end, self._complete, self._clear, self._ramps.advance):
                await self._through(duty)
        if time.monotonic() >= self._next_repair:
            self._next_repair = time.monotonic() + REPAIR_SECONDS
            others = (self._large.sweep, self._leave_vanished, partial(expire_carves, self._deps))
            for duty in (self._repair, *others):
                await self._through(duty)
        if time.monotonic() >= self._next_forgetting:
            self._next_forgetting = time.monotonic() + FORGET_SECONDS
            await self._through(partial(forget, self._deps))
        pause = [self._next_look - time.monotonic()]
        await self._through(partial(self._publish, pause))
        return max(min(pause), 0.01)

    async def _through(self, duty: Callable[[], Awaitable[None]]) -> None:
        """What an outage prevents, or one campaign's lock, must not keep from the rest."""
        try:
            await duty()
        except outage.kinds() as error:
            log.warning("housekeeping waits", error=repr(error))
        heed()

    async def _open(self) -> None:
        """Finish campaigns that somebody told gateways of and then died."""
        async with self._deps.sessions.begin() as session:
            left = await openings.left_behind(session, self._deps.clock() - OPENING_LASTS)
        for campaign_id in left:
            async with self._deps.sessions.begin() as session:
                await finish(session, [campaign_id])
            log.warning("campaign opened late", campaign_id=campaign_id)
            await announce_or_leave(self._deps, campaign_id)

    async def _spare(self) -> None:
        """Give viewers time to be heard again, when nobody can have listened to them."""
        if self._deps.bus.silence_seconds > SILENCE_SECONDS:
            raise Unavailable("the bus is silent")
        async with self._deps.sessions.begin() as session:
            if time.monotonic() - self._last_heard >= UNHEARD_SECONDS:
                await campaigns.spare_viewers(session, self._deps.clock() + VIEWER_GRACE, VIEWER_LONGEST)
        self._last_heard = time.monotonic()

    async def _end(self) -> None:
        """Withdraw commands whose time is over; close their ledgers once all earlier answers are settled."""
        if time.monotonic() - self._last_heard >= UNHEARD_SECONDS:
            return
        async with self._deps.sessions.begin() as session:
            due = await campaigns.due(session, self._deps.clock())
        self._withdrawn &= {campaign.campaign_id for campaign in due}
        for campaign in due:
            if campaign.campaign_id not in self._withdrawn:
                await commands.withdraw(self._deps.bucket, campaign.campaign_id)
                self._withdrawn.add(campaign.campaign_id)
        floor = await answers_floor.find(self._deps.bus) if due else None
        for campaign in due:
            if floor is not None and floor.has_passed(campaign.deadline):
                await self._through(partial(self._close, campaign.campaign_id))

    async def _complete(self, among: set[int] | None = None) -> None:
        """Close campaigns that wait for nobody: together, and by itself whichever somebody has locked."""
        async with self._deps.sessions.begin() as session:
            settled = await campaigns.settled(session, among)
        for first in range(0, len(settled), AT_ONCE):
            await self._through(partial(self._close_settled, settled[first : first + AT_ONCE]))

    async def _close_settled(self, campaign_ids: list[int]) -> None:
        async with self._deps.sessions.begin() as session:
            ended = await close_settled(session, campaign_ids, now=self._deps.clock())
        for campaign_id, reason in ended.items():
            _count_end(campaign_id, reason)
        await self._through(partial(self._tell_ends, ended))
        for campaign_id in campaign_ids:
            if campaign_id not in ended:
                await self._through(partial(self._close, campaign_id))

    async def _close(self, campaign_id: int) -> None:
        async with self._deps.sessions.begin() as session:
            reason = await close(session, self._deps.rows, campaign_id, now=self._deps.clock())
        if reason is not None:
            _count_end(campaign_id, reason)
            await self._tell_ends({campaign_id: reason})

    async def _clear(self) -> None:
        """Tell of ends that have not been told everywhere."""
        async with self._deps.sessions.begin() as session:
            uncleared = await campaigns.uncleared(session, AT_ONCE)
        await self._tell_ends(uncleared)

    async def _tell_ends(self, reasons: Mapping[int, str]) -> None:
        """Tell gateways and viewers. Whoever is stopped in between leaves it to `_clear`.

        A campaign at one host is over before anybody is told that this one is settled. What there is of it all the
        same (its end was held up, or it was ramped) the repair removes.
        """
        if not reasons:
            return
        async with self._deps.sessions.begin() as session:
            single = await campaigns.single_host_ids(session, reasons)
        await commands.withdraw_all(self._deps.bucket, reasons)
        await commands.remove_sets(self._deps.bucket, reasons.keys() - single)
        await self._deps.rows.end(reasons)
        async with self._deps.sessions.begin() as session:
            await campaigns.mark_cleared(session, reasons, self._deps.clock())

    async def _repair(self) -> None:
        """The switch first: a gateway that starts with a lost bucket must not hear a command before it."""
        await keep_switch(self._deps)
        held = await repair(self._deps)
        self._done.note(held)
        await self._ramps.repair()
        async with self._deps.sessions.begin() as session:
            self._done.check(held, await campaigns.running_settled_ids(session, self._deps.clock()))

    async def _leave_vanished(self) -> None:
        """A host can be deleted while a campaign that targets it is being started."""
        async with self._deps.sessions.begin() as session:
            vanished = await ledger.vanished_hosts(session)
        for host_id in vanished:
            async with self._deps.sessions.begin() as session:
                metrics.UNREACHABLE.inc(await leave(session, self._deps.rows, host_id, now=self._deps.clock()))

    async def _publish(self, pause: list[float]) -> None:
        pause.append(await self._done.publish())


def _count_end(campaign_id: int, reason: str) -> None:
    metrics.ENDED.labels(reason if reason in ("complete", "deadline") else "stopped").inc()
    log.info("campaign ended", campaign_id=campaign_id, reason=reason)


async def keep_house(database_url: str, deps: Deps) -> None:
    """Keep house for ever (cancel to stop), through outages, whenever no other replica does."""
    while True:
        try:
            async with keeper_lease.hold(database_url) as lease, archiving(deps) as note:
                metrics.KEEPER.set(1)
                keeper = Keeper(deps)
                pause = await keeper.tick(set())
                while True:
                    changed = await lease.wait(pause)
                    heed()
                    note(changed)
                    pause = await keeper.tick(changed)
        except outage.kinds() as error:
            heed()
            log.warning("housekeeping waits", error=repr(error))
        finally:
            metrics.KEEPER.set(0)
        await asyncio.sleep(RETRY_SECONDS)
