"""LOGS from a destination's cursor on, while its lease is held: cut, record, deliver, settle.

Beside new lines a destination gets dead letters that are to be tried again, and parts of the stream that someone wants
it to have once more: a batch of these after each batch of new lines, in the same way and never at the same time.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from flotilla_common.db.leases import Lease
from flotilla_common.db.models.log_shipper import Batch as RecordedBatch
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper.consumers.condition import Condition
from log_shipper.consumers.delivery import Delivery, Work
from log_shipper.consumers.repeating import Repeating
from log_shipper.deps import Deps
from log_shipper.domain.cutting import Cutter
from log_shipper.domain.pacing import Pace
from log_shipper.domain.rewinding import Mark, place_of
from log_shipper.store import batches, dead_letters, destinations, replays, segments
from log_shipper.store.source import LogSource
from log_shipper.store.stream import StoredMessage, StreamState, state

log = structlog.get_logger()

IDLE_SECONDS = 2.0


class Drain:
    """The work while the lease is held."""

    def __init__(self, condition: Condition, deps: Deps, lease: Lease) -> None:
        self._condition = condition
        self._destination = condition.destination
        self._deps = deps
        self._lease = lease
        self._source = LogSource(deps.sessions, deps.bus, deps.blobs)
        self._pace = Pace(condition.destination.rate)
        self._delivery = Delivery(condition, deps, lease)
        self._repeating = Repeating(self._destination, deps, self._delivery)

    async def run(self) -> None:
        """Finish what was recorded, then go on. Ends by an exception, or at the end of one that was taken away."""
        try:
            await self._recover()
            while not self._is_over():
                await asyncio.sleep(self._pace.wait(time.monotonic()))
                await self._repeating.look()
                messages = await self._collect(0.0 if self._repeating.has_work else IDLE_SECONDS)
                await self._lease.confirm()
                if messages:
                    await self._deliver(messages)
                elif self._destination.until is not None:
                    await self._skip_to_end()
                if self._repeating.has_work:
                    await self._repeat()
                await self._condition.succeeded()
        finally:
            await self._source.close()
            await self._repeating.close()

    def _is_over(self) -> bool:
        until = self._destination.until
        return until is not None and self._delivery.cursor >= until

    async def _deliver(self, messages: list[StoredMessage]) -> None:
        self._pace.sent(time.monotonic(), *await self._delivery.run(Work.live(self._delivery.cursor + 1, messages)))

    async def _repeat(self) -> None:
        self._pace.sent(time.monotonic(), *await self._repeating.run())

    async def _skip_to_end(self) -> None:
        """Close the books of a destination whose last messages are not in the stream any more."""
        until = int(self._destination.until or 0)
        if not await self._source.is_beyond(until):
            return
        async with self._deps.sessions.begin() as session:
            await self._delivery.lock(session)
            await destinations.move(session, self._destination.name, until)
        self._delivery.cursor = until

    async def _recover(self) -> None:
        """Deliver again the batch that was recorded and not settled, if there is one."""
        found = await state(self._deps.bus)
        async with self._deps.sessions.begin() as session:
            await self._place(session, found)
            recorded = await batches.unsettled(session, self._destination.name)
        if recorded is not None and recorded.source != "live":
            await self._recover_repeated(recorded)
            recorded = None
        await self._source.seek(self._delivery.cursor + 1, self._delivery.stream_created_at)
        if recorded is not None:
            await self._recover_live(recorded)

    async def _recover_repeated(self, recorded: RecordedBatch) -> None:
        """Deliver dead letters or a part of a replay again; not for a destination that was taken away."""
        if self._destination.until is None:
            await self._repeating.recover(recorded)
            return
        async with self._deps.sessions.begin() as session:
            await self._delivery.lock(session)
            await batches.settle(session, int(recorded.id or 0))
            await dead_letters.ask_no_more(session, self._destination.name)

    async def _recover_live(self, recorded: RecordedBatch) -> None:
        messages = await self._source.read_to(recorded.last_sequence, IDLE_SECONDS)
        lines = sum(message.lines for message in messages)
        if lines != recorded.lines:
            log.error(
                "the stream lost lines of a recorded batch",
                destination=self._destination.name, batch=recorded.id, recorded=recorded.lines, found=lines,
            )  # fmt: skip
        await self._delivery.settle(recorded, Work.live(recorded.first_sequence, messages))

    async def _place(self, session: AsyncSession, found: StreamState) -> None:
        """Take up the cursor, moved back when the stream is not the one it was.

        What of an earlier stream is in the blob store comes first.
        """
        name = self._destination.name
        row = await destinations.place(session, name)
        cursor, created_at = row.cursor_sequence, row.stream_created_at
        self._delivery.counted_from = row.counted_from
        target = await place_of(self._deps.bus, found, Mark(cursor, created_at, row.cursor_stored_at))
        if target is not None and created_at is not None and await segments.next_of(session, created_at, cursor + 1):
            self._delivery.cursor, self._delivery.stream_created_at = cursor, created_at
            return
        if target is not None:
            log.error("the stream is not the one it was, cursor moved", destination=name, cursor=cursor, to=target)
            await batches.forget_beyond(session, name, 0 if created_at != found.created_at else target)
            await replays.end_all_of(session, name)  # their numbers are of what is gone
        if target is not None or created_at is None:
            cursor = cursor if target is None else target
            await destinations.place_anew(session, name, cursor, found.created_at)
        self._delivery.cursor, self._delivery.stream_created_at = cursor, found.created_at

    async def _collect(self, idle_seconds: float) -> list[StoredMessage]:
        """Return the messages of the next batch; none when nothing came for a while."""
        limits, until = self._destination.limits, self._destination.until
        cutter = Cutter(limits)
        messages: list[StoredMessage] = []
        deadline = 0.0
        while not cutter.is_full:
            wait = deadline - time.monotonic() if messages else idle_seconds
            message = await self._source.next(wait)
            if message is None:
                break
            is_beyond = until is not None and message.sequence > until
            if is_beyond or not cutter.takes(len(message.data), message.lines):
                self._source.unread(message)
                break
            if not messages:
                deadline = time.monotonic() + limits.batch_seconds
            messages.append(message)
        if not messages:
            await self._source.look_back()
        return messages
