"""What every change of a definition leads to: compile the classes that it touches, tell the gateways."""

from __future__ import annotations

from config_merger import metrics
from config_merger.deps import Deps
from config_merger.domain.compilation import head_of, recompile
from config_merger.store import plan_heads, plans

BATCH = 50  # plans in memory at once


async def recompile_team(deps: Deps, team_id: int | None) -> None:
    """Compile the classes of a team again; those of every team, and of none, for None: all inherit.

    Idempotent: a plan depends on stored layers alone, so a second run compiles the same bytes and announces nothing.
    """
    async with deps.sessions.begin() as session:
        await plans.hold_alone(session)
        rows = await (plans.lock_all(session) if team_id is None else plans.lock_team(session, team_id))
        await recompile(session, rows, now=deps.clock())
    await announce_changed(deps)


async def announce_changed(deps: Deps) -> None:
    """Put the heads of all changed plans into the bucket, also those that a crash or an outage left behind.

    After the commit: a gateway must not serve what a rollback would take back.
    """
    while True:
        async with deps.sessions() as session:
            changed = await plans.unannounced(session, BATCH)
        for plan in changed:
            if await plan_heads.announce(deps.bucket, head_of(plan), plan.config, plan.orbit):
                metrics.HEADS_ANNOUNCED.inc()
        async with deps.sessions.begin() as session:
            for plan in changed:
                await plans.mark_announced(session, plan.class_key, plan.revision)
        if len(changed) < BATCH:
            return
