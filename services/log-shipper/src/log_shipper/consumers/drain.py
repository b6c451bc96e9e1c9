"""LOGS from a destination's cursor on: cut, record, deliver, settle; one worker per destination, under a lease.

A batch's range is recorded before its delivery and settled in one transaction after it. Whoever finds a recorded batch
that is not settled delivers exactly that range again, and the destination replaces what an earlier try left. So a line
may be delivered twice, but stands there once.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

import structlog
from flotilla_common.cancellation import heed
from flotilla_common.db.models.log_shipper import Batch as RecordedBatch
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper import metrics
from log_shipper.deps import Deps
from log_shipper.domain.cutting import Cutter
from log_shipper.domain.rewinding import rewind_to
from log_shipper.domain.routing import Routed, route
from log_shipper.sinks import Batch, Sink
from log_shipper.store import batches, dead_letters, destinations, leases, ledger
from log_shipper.store.stream import LogReader, StoredMessage, StreamState, state

log = structlog.get_logger()

IDLE_SECONDS = 2.0
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0


class Backoff:
    """How long to wait after failures in a row."""

    def __init__(self) -> None:
        self.failures = 0

    def next(self) -> float:
        """Count a failure; return the seconds to wait."""
        self.failures += 1
        return min(FIRST_DELAY_SECONDS * 2.0 ** (self.failures - 1), LONGEST_DELAY_SECONDS)

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0


async def drain(sink: Sink, deps: Deps) -> None:
    """Work for a destination for ever (cancel to stop). A destination that is down holds only its own cursor."""
    backoff = Backoff()
    try:
        while True:
            try:
                async with leases.hold(deps.engine, f"destination:{sink.name}") as lease:
                    await Drain(sink, deps, lease, backoff).run()
            except Exception as error:  # noqa: BLE001 - the last resort: one destination must not stop the others
                heed()
                delay = backoff.next()
                metrics.FAILING.labels(sink.name).set(1)
                metrics.FAILURES.labels(sink.name).inc()
                log.warning("destination waits", destination=sink.name, error=repr(error), seconds=delay)
                await asyncio.sleep(delay)
    finally:
        await sink.close()


class Drain:
    """The work while the lease is held."""

    def __init__(self, sink: Sink, deps: Deps, lease: leases.Lease, backoff: Backoff) -> None:
        self._sink = sink
        self._deps = deps
        self._lease = lease
        self._backoff = backoff
        self._reader = LogReader(deps.bus)
        self._cursor = 0

    async def run(self) -> None:
        """Finish what was recorded, then go on for ever. Ends by an exception only."""
        try:
            await self._recover()
            metrics.FAILING.labels(self._sink.name).set(0)
            while True:
                messages = await self._collect()
                await self._lease.confirm()
                if messages:
                    await self._settle(await self._record(messages), messages)
        finally:
            await self._reader.close()

    async def _recover(self) -> None:
        """Deliver again the batch that was recorded and not settled, if there is one."""
        found = await state(self._deps.bus)
        async with self._deps.sessions.begin() as session:
            self._cursor = await self._place(session, found)
            recorded = await batches.unsettled(session, self._sink.name)
        await self._reader.seek(self._cursor + 1)
        if recorded is None:
            return
        messages = await self._read_range(recorded.last_sequence)
        lines = sum(message.lines for message in messages)
        if lines != recorded.lines:
            log.error(
                "the stream lost lines of a recorded batch",
                destination=self._sink.name, batch=recorded.id, recorded=recorded.lines, found=lines,
            )  # fmt: skip
        await self._settle(recorded, messages)

    async def _place(self, session: AsyncSession, found: StreamState) -> int:
        """Return the cursor, moved back when the stream is not the one it was."""
        name = self._sink.name
        cursor, created_at = await destinations.place(session, name)
        target = rewind_to(found, cursor, created_at)
        if target is not None:
            log.error("the stream is not the one it was, cursor moved", destination=name, cursor=cursor, to=target)
            await batches.forget_beyond(session, name, 0 if created_at != found.created_at else target)
        if target is not None or created_at is None:
            cursor = cursor if target is None else target
            await destinations.place_anew(session, name, cursor, found.created_at)
        return cursor

    async def _read_range(self, last: int) -> list[StoredMessage]:
        messages: list[StoredMessage] = []
        while True:
            message = await self._reader.next(IDLE_SECONDS)
            if message is None:
                if (await state(self._deps.bus)).first_sequence > last:
                    return messages
                continue
            if message.sequence > last:
                self._reader.unread(message)
                return messages
            messages.append(message)
            if message.sequence == last:
                return messages

    async def _collect(self) -> list[StoredMessage]:
        """Return the messages of the next batch; none when nothing came for a while."""
        limits = self._sink.limits
        cutter = Cutter(limits)
        messages: list[StoredMessage] = []
        deadline = 0.0
        while not cutter.is_full:
            wait = deadline - time.monotonic() if messages else IDLE_SECONDS
            message = await self._reader.next(wait)
            if message is None:
                break
            if not cutter.takes(len(message.data), message.lines):
                self._reader.unread(message)
                break
            if not messages:
                deadline = time.monotonic() + limits.batch_seconds
            messages.append(message)
        return messages

    async def _record(self, messages: list[StoredMessage]) -> RecordedBatch:
        """Record the range before its delivery."""
        first, last = self._cursor + 1, messages[-1].sequence
        target = await self._sink.plan(first, last, messages[0].stored_at)
        lines = sum(message.lines for message in messages)
        async with self._deps.sessions.begin() as session:
            await destinations.lock(session, self._sink.name, self._cursor)
            return await batches.record(session, self._sink.name, first, last, lines, target)

    async def _settle(self, recorded: RecordedBatch, messages: list[StoredMessage]) -> None:
        """Deliver, then move the cursor, mark the batch and write the books in one transaction."""
        routed = route(messages, self._sink.log_types, self._sink.limits)
        if routed.chunks:
            routed.refuse(await self._sink.deliver(await self._batch(recorded, messages, routed), recorded.target))
        await self._bury(routed)
        async with self._deps.sessions.begin() as session:
            await destinations.lock(session, self._sink.name, self._cursor)
            await batches.settle(session, int(recorded.id or 0))
            await ledger.add(session, self._sink.name, routed.tally)
            await destinations.move(session, self._sink.name, recorded.last_sequence)
        self._cursor = recorded.last_sequence
        self._backoff.reset()
        metrics.BATCHES.labels(self._sink.name).inc()

    async def _batch(self, recorded: RecordedBatch, messages: list[StoredMessage], routed: Routed) -> Batch:
        async with self._deps.sessions.begin() as session:
            row = await destinations.lock(session, self._sink.name, self._cursor)
        return Batch(
            (_microseconds(row.created_at), int(recorded.id or 0)),
            recorded.first_sequence,
            recorded.last_sequence,
            messages[0].stored_at,
            routed.chunks,
        )

    async def _bury(self, routed: Routed) -> None:
        """Put what nobody can deliver in stream DEAD; when that is full, the batch waits."""
        for message, reason in routed.poison:
            await dead_letters.bury(
                self._deps.bus, destination=self._sink.name, sequence=message.sequence, subject=message.subject,
                body=message.data, reason=reason,
            )  # fmt: skip
        for refusal in routed.refusals:
            await dead_letters.bury(
                self._deps.bus, destination=self._sink.name, sequence=refusal.sequence,
                subject=routed.messages[refusal.sequence].subject, body=refusal.line, reason=refusal.reason,
                index=refusal.index,
            )  # fmt: skip


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
