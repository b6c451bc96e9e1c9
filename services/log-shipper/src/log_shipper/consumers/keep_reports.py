"""LOGS, result lines: keep the latest snapshot of each host and query, for query reports.

Idempotent: reports and the cursor move in one transaction, and whoever moves it says from where.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from flotilla_common.cancellation import heed
from flotilla_common.db.leases import Lease

from log_shipper import metrics
from log_shipper.deps import Deps
from log_shipper.domain import report_keeping
from log_shipper.domain.rewinding import rewind_to
from log_shipper.store import leases, reports, segments
from log_shipper.store.reports import Place
from log_shipper.store.source import LogSource
from log_shipper.store.stream import StoredMessage, state

log = structlog.get_logger()

IDLE_SECONDS = 2.0
UNWANTED_SECONDS = 1.0
LINGER_SECONDS = 1.0  # what comes meanwhile is written together
MOST_MESSAGES = 2_000
MOST_BYTES = 8 * 1024 * 1024
HOSTS_AT_ONCE = 5_000
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0


async def keep_reports(deps: Deps) -> None:
    """Keep reports for ever (cancel to stop), through outages; one replica at a time."""
    failures = 0
    while True:
        try:
            async with leases.hold(deps.engine, "query reports") as lease:
                keeper = Keeper(deps, lease)
                try:
                    await sweep(deps)
                    while True:
                        await keeper.step()
                        failures = 0
                finally:
                    await keeper.close()
        except Exception as error:  # noqa: BLE001 - the last resort: reports must not stop the destinations
            heed()
            metrics.REPORT_FAILURES.inc()
            delay = min(RETRY_SECONDS * 2**failures, LONGEST_RETRY_SECONDS)
            failures = min(failures + 1, 10)
            log.warning("query reports wait", error=repr(error), seconds=delay)
            await asyncio.sleep(delay)


async def sweep(deps: Deps) -> None:
    """Forget what does not count any more: what happened while this service was away for long, nobody tells it."""
    async with deps.sessions.begin() as session:
        await report_keeping.forget_void_queries(session)
        hosts = await reports.reported_hosts(session)
    for start in range(0, len(hosts), HOSTS_AT_ONCE):
        async with deps.sessions.begin() as session:
            await report_keeping.forget_void_hosts(session, hosts[start : start + HOSTS_AT_ONCE])


class Keeper:
    """The work while the lease is held."""

    def __init__(self, deps: Deps, lease: Lease) -> None:
        self._deps = deps
        self._lease = lease
        self._source = LogSource(deps.sessions, deps.bus, deps.blobs)
        self._place: Place | None = None

    async def step(self) -> None:
        """Take what comes next, or wait a moment where nobody wants reports."""
        await self._lease.confirm()
        async with self._deps.sessions.begin() as session:
            is_wanted = await report_keeping.is_wanted(session)
            if not is_wanted:
                metrics.REPORT_CURSOR.set((await report_keeping.pass_over(session)).cursor)
        if not is_wanted:
            self._place = None
            await asyncio.sleep(UNWANTED_SECONDS)
            return
        place = self._place or await self._begin()
        messages = await self._collect()
        await self._lease.confirm()
        if messages:
            async with self._deps.sessions.begin() as session:
                self._place, tally = await report_keeping.take(session, place, messages)
            metrics.count_reports(tally)
            metrics.REPORT_CURSOR.set(self._place.cursor)
        else:
            self._place = place

    async def close(self) -> None:
        """Forget what is open."""
        await self._source.close()

    async def _begin(self) -> Place:
        """Take up the cursor; it moves when the stream is not the one it was and nothing is left of that."""
        found = await state(self._deps.bus)
        async with self._deps.sessions.begin() as session:
            await reports.take_turns(session)
            place = await reports.begin(session)
            cursor, created_at = place.cursor, place.stream_created_at
            target = rewind_to(found, cursor, created_at)
            is_left = target is not None and created_at is not None
            if not is_left or not await segments.next_of(session, created_at or found.created_at, cursor + 1):
                if target is not None:
                    log.error("the stream is not the one it was, query reports moved", cursor=cursor, to=target)
                place = Place(cursor if target is None else target, found.created_at)
                await reports.put(session, place)
        await self._source.seek(place.cursor + 1, place.stream_created_at or found.created_at)
        return place

    async def _collect(self) -> list[StoredMessage]:
        messages: list[StoredMessage] = []
        size, deadline = 0, 0.0
        while len(messages) < MOST_MESSAGES and size < MOST_BYTES:
            message = await self._source.next(deadline - time.monotonic() if messages else IDLE_SECONDS)
            if message is None:
                break
            if not messages:
                deadline = time.monotonic() + LINGER_SECONDS
            messages.append(message)
            size += len(message.data)
        if not messages:
            await self._source.look_back()
        return messages
