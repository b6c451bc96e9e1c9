"""Start campaigns: at once, or as soon as their targets are in the object store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from flotilla_common.contracts.campaigns import CampaignCommand
from flotilla_common.errors import Poison, Unavailable
from pyroaring import BitMap

from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.commands import targets_of
from agent_gateway.domain.counters import Counters

log = structlog.get_logger()

LOOK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(eq=False)
class _Late:
    command: CampaignCommand
    pause: float
    not_before: float  # Unix time


class Starts:
    """Verified commands on their way to being open campaigns.

    live-query puts the targets before the command, and again when they were lost. So a command whose targets are not
    there is kept until its end, and they are looked for again. A gateway that starts hears the command again.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        fetch: Callable[[str], Awaitable[bytes | None]],
        counters: Counters,
        now: Callable[[], float],
    ) -> None:
        self._campaigns = campaigns
        self._fetch = fetch
        self._counters = counters
        self._now = now
        self._late: dict[int, _Late] = {}

    async def start(self, command: CampaignCommand) -> None:
        """Start a campaign, or keep the command until its targets are there.

        Raises:
            Poison: the targets make no sense.
            Unavailable: the object store does not answer.

        """
        self._late.pop(command.campaign_id, None)
        targets = await self._targets(command)
        if targets is None:
            self._late[command.campaign_id] = _Late(command, LOOK_SECONDS, self._now() + LOOK_SECONDS)
            log.warning("targets are not there yet", campaign_id=command.campaign_id)
        else:
            self._open(command, targets)

    def end(self, campaign_id: int, ended_at: float) -> None:
        """End a campaign, whether it has started or not."""
        self._late.pop(campaign_id, None)
        self._campaigns.end(campaign_id, ended_at)

    def end_all(self) -> None:
        """End everything."""
        for campaign_id in self._campaigns.open_ids() | set(self._late):
            self.end(campaign_id, self._now())

    async def run(self) -> None:
        """Look for late targets for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look for the targets that are due, less often each time."""
        now = self._now()
        for late in [one for one in self._late.values() if one.not_before <= now]:
            if late.command.deadline <= now:
                self.end(late.command.campaign_id, late.command.deadline)
            else:
                await self._look_for(late)

    async def _look_for(self, late: _Late) -> None:
        campaign_id = late.command.campaign_id
        late.pause = min(late.pause * 2, LONGEST_PAUSE_SECONDS)
        late.not_before = self._now() + late.pause
        targets = None
        try:
            targets = await self._targets(late.command)
        except Unavailable as error:
            log.warning("targets wait for the object store", campaign_id=campaign_id, error=str(error))
        except Poison as error:
            self._counters.commands_refused += 1
            log.warning("late targets refused", campaign_id=campaign_id, error=str(error))
            self._forget(late)
        if targets is not None and self._forget(late):
            self._open(late.command, targets)

    def _forget(self, late: _Late) -> bool:
        """Remove it; return whether it was there: the campaign may have ended, or come again, meanwhile."""
        campaign_id = late.command.campaign_id
        was_there = self._late.get(campaign_id) is late
        if was_there:
            del self._late[campaign_id]
        return was_there

    def _open(self, command: CampaignCommand, targets: BitMap) -> None:
        self._campaigns.start(command, targets, self._now())
        log.info("campaign", campaign_id=command.campaign_id, hosts=len(targets), trace_id=command.trace)

    async def _targets(self, command: CampaignCommand) -> BitMap | None:
        """Fetch large targets, once for all campaigns with the same; what is handed out has the hash."""
        name = command.targets_hash
        if not name:
            return targets_of(command, command.targets)
        known = self._campaigns.targets_by_hash(name)
        if known is not None:
            return known
        stored = await self._fetch(name)
        return None if stored is None else targets_of(command, stored)
