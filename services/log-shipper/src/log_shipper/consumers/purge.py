"""The stream's janitor: purge what every destination and the intake are done with. Repeating it is harmless."""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed

from log_shipper.deps import Deps
from log_shipper.domain.ledger import read_books
from log_shipper.domain.purging import purge_before
from log_shipper.store import batches, leases, stream
from log_shipper.store.stream import OUTAGES

log = structlog.get_logger()

EVERY_SECONDS = 10.0


async def purge(deps: Deps, replay_window: float) -> None:
    """Look after the stream for ever (cancel to stop), through outages; one replica at a time."""
    while True:
        try:
            async with leases.hold(deps.engine, "janitor") as lease:
                while True:
                    await lease.confirm()
                    await purge_once(deps, replay_window)
                    heed()
                    await asyncio.sleep(EVERY_SECONDS)
        except (*outage.kinds(), *OUTAGES) as error:
            heed()
            log.warning("janitor waits", error=repr(error))
            await asyncio.sleep(EVERY_SECONDS)


async def purge_once(deps: Deps, replay_window: float) -> None:
    """Purge what can go now, and forget old batches."""
    async with deps.sessions.begin() as session:
        await batches.forget_old(session)
    settled = (await read_books(deps.sessions)).settled
    before = purge_before(await stream.state(deps.bus), settled, replay_window)
    if before is not None:
        await stream.purge(deps.bus, before)
        log.info("stream purged", before=before, settled=settled)
