"""Carves expire: their contents are deleted, what is known of them stays."""

from __future__ import annotations

from datetime import timedelta

import structlog
from flotilla_common.contracts.carves import carve_folder

from live_query import metrics
from live_query.deps import Deps
from live_query.store import carves

log = structlog.get_logger()

LATE = timedelta(hours=1)  # by then nobody has a block of an expired carve in hand
AT_ONCE = 100
OBJECTS = 5000  # deleted at a time: campaigns are waiting to be ended


async def expire_carves(deps: Deps) -> None:
    """Let carves expire whose time is over, and delete contents that are due, once more an hour later.

    Idempotent: a crash in between leaves contents that are deleted the next time; so are those beyond OBJECTS.
    """
    now = deps.clock()
    async with deps.sessions.begin() as session:
        expired = await carves.expire(session, now)
        due = await carves.unswept(session, now - LATE, AT_ONCE)
    metrics.CARVES_EXPIRED.inc(len(expired))
    left = OBJECTS
    for carve_id, sweep in due:
        deleted = await deps.blobs.delete_folder(carve_folder(carve_id), left)
        left -= deleted
        if left <= 0:
            return
        async with deps.sessions.begin() as session:
            await carves.note_swept(session, carve_id, sweep)
        log.info("contents of a carve deleted", carve_id=carve_id, objects=deleted)
