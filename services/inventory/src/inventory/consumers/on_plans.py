"""Bucket PLANS: write the intervals of a changed plan to its hosts. Repeats find nothing that differs.

Hosts that enrolled or changed their team meanwhile are found by a look at all of them now and then.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.buckets import is_delete
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts.plans import BUCKET, PlanHead, head_key
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from nats.aio.msg import Msg
from pydantic import ValidationError

from inventory import metrics
from inventory.deps import Deps
from inventory.domain.intervals import PlannedIntervals
from inventory.store import intervals as store
from inventory.store.intervals import Group, Intervals

log = structlog.get_logger()

BATCH = 2000  # hosts in one transaction
GATHER_SECONDS = 0.1  # an edit changes many plans at once
RETRY_SECONDS = 1.0


def plans_follower(bus: Bus, planned: PlannedIntervals) -> Follower:
    """Return the follower that keeps the plans' intervals true. A removed plan has no hosts."""

    async def on_message(message: Msg) -> None:
        if is_delete(message.headers):
            return
        try:
            planned.take(PlanHead.model_validate_json(message.data))
        except ValidationError as error:
            log.warning("head of a plan makes no sense", subject=message.subject, error=str(error))

    async def on_gap() -> None:
        planned.forget()

    return Follower(bus, bucket_stream(BUCKET), [bucket_subject(BUCKET, head_key(">"))], on_message, on_gap=on_gap)


async def write_changes(sweep_seconds: float, planned: PlannedIntervals, deps: Deps) -> None:
    """Write news as they come, and look at all hosts every `sweep_seconds`; for ever, through outages of Postgres."""
    sweep_at = time.monotonic() + sweep_seconds
    while True:
        try:
            async with asyncio.timeout(max(0.0, sweep_at - time.monotonic())):
                await planned.news.wait()
                await asyncio.sleep(GATHER_SECONDS)
            groups = planned.take_news()
        except TimeoutError:
            groups = planned.all()
            sweep_at = time.monotonic() + sweep_seconds
        try:
            await write(groups, deps)
        except outage.kinds() as error:
            log.warning("intervals wait", error=repr(error), groups=len(groups))
            planned.give_back(groups)
            await asyncio.sleep(RETRY_SECONDS)


async def write(groups: dict[Group, Intervals], deps: Deps) -> None:
    """Write intervals to the hosts of these groups that have others."""
    changed = BATCH if groups else 0
    while changed >= BATCH:
        async with deps.sessions.begin() as session:
            changed = await store.write(session, groups, BATCH)
        metrics.INTERVALS_WRITTEN.inc(changed)
