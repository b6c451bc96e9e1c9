"""Housekeeping of bucket PLANS: what is missing comes back, what nobody refers to goes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from flotilla_common.bus import outage

from config_merger import metrics
from config_merger.consumers.touched import announce_changed, recompile_team
from config_merger.deps import Deps
from config_merger.domain.compilation import head_of
from config_merger.store import classes_in_use, plan_heads, plans

log = structlog.get_logger()


async def start_over(deps: Deps) -> None:
    """Compile every class and repair the bucket: edits may have been missed, the bucket or this release may be new."""
    await recompile_team(deps, None)
    await repair(deps)
    await renew(deps)


async def renew(deps: Deps) -> None:
    """Write the heads anew that an older release wrote: they may lack what this one says of the same bytes.

    At the start only: while releases run side by side, the one that started last has its way.
    """
    async with deps.sessions() as session:
        rows = await plans.every(session)
    for row in rows:
        async with deps.sessions() as session:
            plan = await plans.get(session, row.class_key)
        if plan is not None and await plan_heads.renew(deps.bucket, head_of(plan)):
            metrics.HEADS_ANNOUNCED.inc()


async def repair(deps: Deps) -> int:
    """Put back heads and configs that the bucket lacks; return how many classes that took."""
    async with deps.sessions() as session:
        rows = await plans.every(session)
    held = await plan_heads.contents(deps.bucket)
    repaired = 0
    for row in rows:
        if row.class_key in held.heads and row.config_sha256 in held.configs and row.orbit_sha256 in held.orbits:
            continue
        async with deps.sessions() as session:
            plan = await plans.get(session, row.class_key)
        if plan is not None:
            repaired += await plan_heads.announce(deps.bucket, head_of(plan), plan.config, plan.orbit)
    metrics.HEADS_ANNOUNCED.inc(repaired)
    return repaired


@dataclass
class Garbage:
    """What nobody refers to, since when. In memory: after a restart the grace begins anew."""

    blob_grace: timedelta
    class_grace: timedelta
    since: dict[str, datetime] = field(default_factory=dict)

    async def collect(self, deps: Deps) -> None:
        """Remove classes without hosts, then heads without classes and bytes without plans, each after its grace."""
        now = deps.clock()
        await self._forget_classes(deps, now)
        held = await plan_heads.contents(deps.bucket)
        async with deps.sessions() as session:
            rows = await plans.every(session)
        heads = held.heads - {row.class_key for row in rows}
        configs = held.configs - {row.config_sha256 for row in rows}
        orbits = held.orbits - {row.orbit_sha256 for row in rows}
        self.since = {key: self.since.get(key, now) for key in heads | configs | orbits}
        due = {key for key, since in self.since.items() if now - since >= self.blob_grace}
        for class_key in sorted(heads & due):
            await self._remove_head(deps, class_key)
        for sha256 in sorted(configs & due):
            await self._remove_config(deps, sha256)
        for sha256 in sorted(orbits & due):
            await self._remove_orbit(deps, sha256)

    async def _forget_classes(self, deps: Deps, now: datetime) -> None:
        async with deps.sessions.begin() as session:
            used = await classes_in_use.keys(session)
            removed = await plans.remove_unused(session, used, now, now - self.class_grace)
        for class_key in removed:
            await self._remove_head(deps, class_key)
        metrics.GARBAGE_REMOVED.labels("class").inc(len(removed))

    async def _remove_head(self, deps: Deps, class_key: str) -> None:
        """Remove a head, and put it back if its class was made again meanwhile."""
        await plan_heads.remove(deps.bucket, class_key)
        async with deps.sessions() as session:
            plan = await plans.get(session, class_key)
        if plan is not None and plan.revision > 0:
            await plan_heads.announce(deps.bucket, head_of(plan), plan.config, plan.orbit)

    async def _remove_config(self, deps: Deps, sha256: str) -> None:
        """Remove a config, and put it back if a plan came to have it meanwhile."""
        await plan_heads.remove_config(deps.bucket, sha256)
        async with deps.sessions() as session:
            plan = await plans.with_config(session, sha256)
        if plan is not None:
            await plan_heads.put_config(deps.bucket, sha256, plan.config)
        metrics.GARBAGE_REMOVED.labels("config").inc()

    async def _remove_orbit(self, deps: Deps, sha256: str) -> None:
        """Remove a part for orbit, and put it back if a plan came to have it meanwhile."""
        await plan_heads.remove_orbit(deps.bucket, sha256)
        async with deps.sessions() as session:
            plan = await plans.with_orbit(session, sha256)
        if plan is not None and plan.orbit is not None:
            await plan_heads.put_orbit(deps.bucket, sha256, plan.orbit)
        metrics.GARBAGE_REMOVED.labels("orbit").inc()


async def keep_house(seconds: float, garbage: Garbage, deps: Deps) -> None:
    """Announce, repair and collect for ever, every so many seconds; through outages."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await announce_changed(deps)
            await repair(deps)
            await garbage.collect(deps)
        except outage.kinds() as error:
            log.warning("housekeeping waits", error=repr(error))
