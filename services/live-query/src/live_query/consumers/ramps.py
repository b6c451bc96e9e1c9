"""Campaigns that ask so many hosts at a time: release more as answers come, and tell gateways: `<id>.released`."""

from __future__ import annotations

import time

from flotilla_common.contracts.bitmaps import bytes_of
from flotilla_common.contracts.campaigns import INLINE_BYTES, Released

from live_query import metrics
from live_query.consumers.on_app_config import is_halted
from live_query.deps import Deps
from live_query.domain.signing import sign_released
from live_query.store import campaigns, commands, ramps

EVERY_SECONDS = 0.5  # however fast answers come
LOOK_AGAIN_SECONDS = 5.0  # for hosts that come online, when fewer were than could be released


class Ramps:
    """The one replica that keeps house releases, and is the only writer of the sets."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._next = 0.0
        self._told: set[int] = set()  # campaigns whose set in the bucket is what the ledger says
        self._not_before: dict[int, float] = {}

    async def advance(self) -> None:
        """Release what there is room for; nobody while all campaigns are halted."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_SECONDS
        async with self._deps.sessions.begin() as session:
            ramped = await campaigns.ramped(session, self._deps.clock())
            halted = bool(ramped) and await is_halted(session, self._deps)
        self._told &= ramped.keys()
        self._not_before = {one: until for one, until in self._not_before.items() if one in ramped}
        if halted:
            return
        for campaign_id, at_a_time in ramped.items():
            await self._advance(campaign_id, at_a_time)

    async def repair(self) -> None:
        """Tell gateways again what the bucket has lost."""
        self._told &= (await commands.contents(self._deps.bucket)).released

    async def _advance(self, campaign_id: int, at_a_time: int) -> None:
        now = self._deps.clock()
        async with self._deps.sessions.begin() as session:
            more = 0
            if self._not_before.get(campaign_id, 0.0) <= time.monotonic():
                free = at_a_time - await ramps.awaited(session, campaign_id, now)
                more = await ramps.release(session, campaign_id, free, now) if free > 0 else 0
                if more < free:
                    self._not_before[campaign_id] = time.monotonic() + LOOK_AGAIN_SECONDS
            if not more and campaign_id in self._told:
                return
            self._told.discard(campaign_id)
            host_ids = await ramps.released(session, campaign_id)
        metrics.RELEASED.inc(more)
        await self._tell(campaign_id, host_ids)
        self._told.add(campaign_id)

    async def _tell(self, campaign_id: int, host_ids: list[int]) -> None:
        """After the commit; a crash in between leaves it to the next keeper, who has told nobody."""
        value, name = bytes_of(host_ids), ""
        if len(value) > INLINE_BYTES:
            value, name = b"", await self._deps.objects.put(value)
        signed = sign_released(Released(campaign_id, value, name), self._deps.signing_key)
        await commands.put_released(self._deps.bucket, campaign_id, signed)
