"""Tell gateways who is settled: `<id>.done`, when it changed, at most once a second per campaign."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from live_query import metrics
from live_query.deps import Deps
from live_query.store import campaigns, commands, ledger

EVERY_SECONDS = 1.0
LARGE_EVERY_SECONDS = 10.0  # for sets that are in the object store


class DoneSets:
    """What has been told, in the memory of the one replica that keeps house."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._changed: set[int] = set()
        self._told: dict[int, int] = {}  # campaign -> hosts; a set only grows, so its size says whether it changed
        self._not_before: dict[int, float] = {}

    def note(self, campaign_ids: Iterable[int]) -> None:
        """Note that the ledgers of these campaigns may have changed."""
        self._changed.update(campaign_ids)

    def check(self, held: Collection[int], running: Iterable[int]) -> None:
        """Look again at these campaigns; of those that the bucket holds no set of, nothing has been told."""
        self._told = {one: count for one, count in self._told.items() if one in held or not count}
        self.note(running)

    async def publish(self) -> float:
        """Publish what has changed and is due; return in how many seconds more is due, EVERY_SECONDS at most."""
        now = time.monotonic()
        due = {campaign_id for campaign_id in self._changed if self._not_before.get(campaign_id, 0.0) <= now}
        if due:
            await self._publish(due)
        waiting = [self._not_before[campaign_id] - now for campaign_id in self._changed]
        return max(min(waiting, default=EVERY_SECONDS), 0.01)

    async def _publish(self, due: set[int]) -> None:
        deps = self._deps
        async with deps.sessions.begin() as session:
            running = await campaigns.running_ids(session, deps.clock(), due)
            counts = await ledger.settled_counts(session, running)
        for campaign_id in due - running:
            self._forget(campaign_id)
        for campaign_id in sorted(running):
            if campaign_id not in self._told:
                self._told[campaign_id] = await commands.done_count(deps.bucket, deps.objects, campaign_id)
            if counts.get(campaign_id, 0) != self._told[campaign_id]:
                await self._tell(campaign_id)
            self._changed.discard(campaign_id)

    async def _tell(self, campaign_id: int) -> None:
        deps = self._deps
        async with deps.sessions.begin() as session:
            host_ids = await ledger.settled_hosts(session, campaign_id)
        is_large = await commands.put_done(deps.bucket, deps.objects, campaign_id, host_ids)
        # After the put: a slow one would leave less than the second between two.
        pause = LARGE_EVERY_SECONDS if is_large else EVERY_SECONDS
        self._not_before[campaign_id] = time.monotonic() + pause
        self._told[campaign_id] = len(host_ids)
        metrics.DONE_SETS.inc()

    def _forget(self, campaign_id: int) -> None:
        self._changed.discard(campaign_id)
        self._told.pop(campaign_id, None)
        self._not_before.pop(campaign_id, None)
