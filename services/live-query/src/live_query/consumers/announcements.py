"""Keep bucket CAMPAIGNS true: a command is in it if and only if its campaign runs."""

from __future__ import annotations

from datetime import timedelta

import structlog
from flotilla_common.bus import outage

from live_query import metrics
from live_query.deps import Deps
from live_query.store import campaigns, commands

log = structlog.get_logger()

REMEMBERED = timedelta(hours=25)  # gateways tell late answers from foreign ones for a day


async def announce(deps: Deps, campaign_id: int) -> None:
    """Put a running campaign's command. One that ends meanwhile is withdrawn again: nobody else might see it."""
    command = await _command(deps, campaign_id)
    if command is None:
        return
    await commands.put(deps.bucket, campaign_id, command)
    if await _command(deps, campaign_id) is None:
        await commands.withdraw(deps.bucket, campaign_id)


async def announce_or_leave(deps: Deps, campaign_id: int) -> None:
    """Like `announce`; the keeper repairs what an outage prevents."""
    try:
        await announce(deps, campaign_id)
    except outage.kinds() as error:
        log.warning("command waits", campaign_id=campaign_id, error=repr(error))


async def withdraw_or_leave(deps: Deps, campaign_id: int) -> None:
    """Remove a command; the keeper does it when an outage prevents it."""
    try:
        await commands.withdraw(deps.bucket, campaign_id)
    except outage.kinds() as error:
        log.warning("withdrawal waits", campaign_id=campaign_id, error=repr(error))


async def repair(deps: Deps) -> None:
    """Put back what the bucket lacks, remove what nothing stands for.

    The bucket is listed before the campaigns are: what is in it by then was committed before.
    """
    held = await commands.contents(deps.bucket)
    async with deps.sessions.begin() as session:
        running = await campaigns.running_ids(session, deps.clock())
    metrics.RUNNING.set(len(running))
    for campaign_id in sorted(running - held.commands):
        await announce(deps, campaign_id)
        metrics.REPAIRED.labels("missing").inc()
    for campaign_id in sorted(held.commands - running):
        await commands.withdraw(deps.bucket, campaign_id)
        metrics.REPAIRED.labels("stale").inc()
    for campaign_id in sorted(held.done - running):
        await commands.remove_done(deps.bucket, campaign_id)


async def forget(deps: Deps) -> None:
    """Wipe what the bucket remembers of campaigns that ended long ago."""
    traces = await commands.traces(deps.bus)
    async with deps.sessions.begin() as session:
        now = deps.clock()
        kept = await campaigns.remembered(session, traces, now - REMEMBERED)
        kept |= await campaigns.running_ids(session, now, traces)
    for campaign_id in sorted(traces - kept):
        await commands.wipe(deps.bus, campaign_id)
        metrics.REPAIRED.labels("forgotten").inc()


async def _command(deps: Deps, campaign_id: int) -> bytes | None:
    async with deps.sessions.begin() as session:
        return await campaigns.command_of(session, campaign_id, deps.clock())
