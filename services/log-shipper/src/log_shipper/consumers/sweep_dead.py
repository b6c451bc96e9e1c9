"""Stream DEAD: free what a crash left there without a dead letter that names it, at the start and once a day.

Idempotent: what is freed is named by nobody, now or ever; freeing it again does nothing.
"""

from __future__ import annotations

import asyncio

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed

from log_shipper.deps import Deps
from log_shipper.store import dead_letters, leases, orphans
from log_shipper.store.stream import OUTAGES

log = structlog.get_logger()

EVERY_SECONDS = 24 * 3600.0  # batches are known for a week
RETRY_SECONDS = 60.0
AT_ONCE = 1000
REST_SECONDS = 0.1  # between so many


async def sweep_dead(deps: Deps) -> None:
    """Sweep for ever (cancel to stop), through outages; one replica at a time."""
    while True:
        try:
            async with leases.hold(deps.engine, "dead letters") as lease:
                while True:
                    await lease.confirm()
                    await sweep_once(deps)
                    await asyncio.sleep(EVERY_SECONDS)
        except (*outage.kinds(), *OUTAGES) as error:
            heed()
            log.warning("sweeping of dead letters waits", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)


async def sweep_once(deps: Deps) -> int:
    """Walk through DEAD; return how many messages were freed."""
    sequence: int | None = 1
    freed = 0
    while sequence is not None:
        buried, sequence = await orphans.following(deps.bus, sequence, AT_ONCE)
        async with deps.sessions.begin() as session:
            gone = await orphans.orphans_of(session, buried)
        await dead_letters.free(deps.bus, gone)
        freed += len(gone)
        await asyncio.sleep(REST_SECONDS)
    if freed:
        log.info("messages without a dead letter are gone", messages=freed)
    return freed
