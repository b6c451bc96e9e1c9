"""hosts.seen.v1 (core NATS): which hosts polled lately. Losing one costs a late "seen"."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator
from datetime import datetime

import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.hearing import hear
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.hosts import HostsSeenV1
from nats.aio.msg import Msg
from pydantic import ValidationError
from pyroaring import BitMap

from inventory import metrics
from inventory.deps import Deps
from inventory.domain.seen_hosts import SeenHosts
from inventory.store import seen as store

log = structlog.get_logger()


async def collect(seen: SeenHosts, logged: SeenHosts, deps: Deps, *, ready: asyncio.Event | None = None) -> None:
    """Collect bitmaps for ever, of hosts that polled and logged; each message reaches one process of this service."""

    async def on_message(message: Msg) -> None:
        try:
            event = HostsSeenV1.model_validate_json(message.data)
            hosts = bitmap_of(base64.b64decode(event.bitmap, validate=True))
            logging = bitmap_of(base64.b64decode(event.logged, validate=True)) if event.logged else BitMap()
        except (ValidationError, binascii.Error, ValueError) as error:
            metrics.BAD_SEEN_MESSAGES.inc()
            log.warning("a seen message makes no sense", error=repr(error))
            return
        moment = min(event.seen_at, deps.clock())  # a clock that is ahead must not keep a host online
        seen.add(hosts, moment)
        if logging:
            logged.add(logging, moment)

    await hear(deps.bus, HostsSeenV1.subject, on_message, ready=ready)


async def write_every(seconds: float, seen: SeenHosts, logged: SeenHosts, deps: Deps) -> None:
    """Write what was collected, for ever, every so many seconds; through outages of Postgres."""
    while True:
        await asyncio.sleep(seconds)
        await write(seen, logged, deps)


async def write(seen: SeenHosts, logged: SeenHosts, deps: Deps) -> None:
    """Write what was collected. Repeats are harmless: a time only grows."""
    taken, taken_logged = seen.take(), logged.take()
    if not taken and not taken_logged:
        return
    try:
        async with deps.sessions.begin() as session:
            metrics.SEEN_HOSTS_WRITTEN.inc(await store.touch_many(session, _rows(taken, taken_logged)))
    except outage.kinds() as error:
        log.warning("last-seen times wait", error=repr(error), hosts=sum(len(hosts) for _, hosts in taken))
        seen.give_back(taken)
        logged.give_back(taken_logged)


Taken = list[tuple[datetime, BitMap]]


def _rows(taken: Taken, taken_logged: Taken) -> Iterator[tuple[int, datetime, datetime | None]]:
    """Yield each host once: when it was seen, and when lines of it came, if any did."""
    logged = {host_id: moment for moment, hosts in taken_logged for host_id in hosts}
    for seen_at, hosts in taken:
        for host_id in hosts:
            yield host_id, seen_at, logged.pop(host_id, None)
    for host_id, moment in logged.items():
        yield host_id, moment, moment
