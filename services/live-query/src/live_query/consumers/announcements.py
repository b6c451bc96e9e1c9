"""Keep bucket CAMPAIGNS true: a command is in it if and only if its campaign runs and is not paused."""

from __future__ import annotations

from datetime import timedelta

import structlog
from flotilla_common.bus import outage
from flotilla_common.contracts.bitmaps import bytes_of

from live_query import metrics
from live_query.deps import Deps
from live_query.store import campaigns, commands, ledger, openings

log = structlog.get_logger()

REMEMBERED = timedelta(hours=25)  # gateways tell late answers from foreign ones for a day


async def announce(deps: Deps, campaign_id: int) -> None:
    """Put an asking campaign's command. One that ends or pauses meanwhile is withdrawn again."""
    found = await _command(deps, campaign_id)
    if found is None:
        return
    command, targets = found
    if targets:
        await _keep_targets(deps, campaign_id, targets)
    await commands.put(deps.bucket, campaign_id, command)
    await _take_back_if_over(deps, campaign_id)


async def announce_or_leave(deps: Deps, campaign_id: int) -> None:
    """Like `announce`; the keeper repairs what an outage prevents."""
    try:
        await announce(deps, campaign_id)
    except outage.kinds() as error:
        log.warning("command waits", campaign_id=campaign_id, error=repr(error))


async def announce_again(deps: Deps, campaign_id: int) -> None:
    """Put the command of one that goes on, or was lost, then who is settled and released, in this order.

    Gateways forget both an hour after a command went, and take neither before it is back.
    """
    await announce(deps, campaign_id)
    await commands.repeat_done(deps.bucket, campaign_id)
    await commands.repeat_released(deps.bucket, campaign_id)


async def tell_or_leave(deps: Deps, campaign_id: int, command: bytes, *, is_open: bool) -> bool:
    """Put a command that has its targets in it; return whether nothing prevented it.

    `is_open`: its campaign is committed, and may have ended or been paused since. One that is being opened cannot.
    """
    try:
        await commands.put(deps.bucket, campaign_id, command)
        if is_open:
            await _take_back_if_over(deps, campaign_id)
    except outage.kinds() as error:
        log.warning("command waits", campaign_id=campaign_id, error=repr(error))
        return False
    return True


async def withdraw_if_over(deps: Deps, campaign_id: int) -> None:
    """Withdraw the command of a campaign that somebody else opened, and that has ended or paused since.

    Whoever told gateways may have done so after that. The keeper repairs what an outage prevents.
    """
    try:
        await _take_back_if_over(deps, campaign_id)
    except outage.kinds() as error:
        log.warning("withdrawal waits", campaign_id=campaign_id, error=repr(error))


async def silence(deps: Deps, campaign_id: int) -> None:
    """Withdraw a paused campaign's command; one that goes on meanwhile is announced again."""
    await commands.withdraw(deps.bucket, campaign_id)
    if await _command(deps, campaign_id) is not None:
        await announce(deps, campaign_id)


async def silence_or_leave(deps: Deps, campaign_id: int) -> None:
    """Like `silence`; the keeper's repair does it when an outage prevents it."""
    try:
        await silence(deps, campaign_id)
    except outage.kinds() as error:
        log.warning("pause waits", campaign_id=campaign_id, error=repr(error))


async def withdraw_or_leave(deps: Deps, campaign_id: int) -> None:
    """Remove a command; the keeper does it when an outage prevents it."""
    try:
        await commands.withdraw(deps.bucket, campaign_id)
    except outage.kinds() as error:
        log.warning("withdrawal waits", campaign_id=campaign_id, error=repr(error))


async def repair(deps: Deps) -> frozenset[int]:
    """Put back what the bucket lacks, remove what nothing stands for; return the campaigns with a set of settled hosts.

    The bucket is listed before the campaigns are: what is in it by then was committed before. So are those that are
    being opened: each is a campaign, or still one of them.
    """
    held = await commands.contents(deps.bucket)
    async with deps.sessions.begin() as session:
        opening = await openings.ids(session)
        running = await campaigns.running_ids(session, deps.clock())
        asking = await campaigns.asking_ids(session, deps.clock())
        large = await campaigns.large_targets(session, deps.clock())
    metrics.RUNNING.set(len(running))
    readable = {name for name in set(large.values()) if await deps.objects.has(name)}
    lacking = {campaign_id for campaign_id, name in large.items() if name not in readable}
    for campaign_id in sorted(asking - held.commands | lacking):
        await announce_again(deps, campaign_id)
        metrics.REPAIRED.labels("missing").inc()
    for campaign_id in sorted(held.commands - asking - opening):
        await commands.withdraw(deps.bucket, campaign_id)
        metrics.REPAIRED.labels("stale").inc()
    for campaign_id in sorted(held.done - running):
        await commands.remove_done(deps.bucket, campaign_id)
    for campaign_id in sorted(held.released - running):
        await commands.remove_released(deps.bucket, campaign_id)
    return held.done


class LargeSets:
    """Removes objects that neither a running campaign nor a set of settled hosts names any more."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._unnamed: set[str] = set()

    async def sweep(self) -> None:
        """Remove what nothing has named twice in a row: what is being put is named a moment later."""
        unnamed = await self._deps.objects.names()
        if unnamed:
            async with self._deps.sessions.begin() as session:
                unnamed -= set((await campaigns.large_targets(session, self._deps.clock())).values())
        if unnamed:
            held = await commands.contents(self._deps.bucket)
            unnamed -= await commands.done_objects(self._deps.bucket, held.done)
            unnamed -= await commands.released_objects(self._deps.bucket, held.released)
        for name in sorted(unnamed & self._unnamed):
            await self._deps.objects.delete(name)
            metrics.REPAIRED.labels("object").inc()
        self._unnamed = unnamed


async def forget(deps: Deps) -> None:
    """Wipe what the bucket remembers of campaigns that ended long ago."""
    traces = await commands.traces(deps.bus)
    async with deps.sessions.begin() as session:
        now = deps.clock()
        opening = await openings.ids(session)
        kept = await campaigns.remembered(session, traces, now - REMEMBERED)
        kept |= await campaigns.running_ids(session, now, traces)
    for campaign_id in sorted(traces - kept - opening):
        await commands.wipe(deps.bus, campaign_id)
        metrics.REPAIRED.labels("forgotten").inc()


async def _take_back_if_over(deps: Deps, campaign_id: int) -> None:
    if await _command(deps, campaign_id) is None:
        await silence(deps, campaign_id)


async def _command(deps: Deps, campaign_id: int) -> tuple[bytes, str] | None:
    async with deps.sessions.begin() as session:
        return await campaigns.command_of(session, campaign_id, deps.clock())


async def _keep_targets(deps: Deps, campaign_id: int, name: str) -> None:
    """Put the targets into the object store before the command that names them; the ledger knows them."""
    if await deps.objects.has(name):
        return
    async with deps.sessions.begin() as session:
        host_ids = await ledger.targeted_hosts(session, campaign_id)
    stored = await deps.objects.put(bytes_of(host_ids))
    if stored != name:
        log.error("targets are not those that were signed", campaign_id=campaign_id, signed=name, stored=stored)
