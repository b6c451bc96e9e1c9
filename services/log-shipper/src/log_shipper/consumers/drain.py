"""LOGS from a destination's cursor on: cut, record, deliver, settle; one worker per destination, under a lease.

A batch's range is recorded before its delivery and settled in one transaction after it. Whoever finds a recorded batch
that is not settled delivers exactly that range again, and the destination replaces what an earlier try left, or the
books say how many lines may stand there twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime

import structlog
from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.contracts.log_destinations import Retry
from flotilla_common.db.models.log_shipper import Batch as RecordedBatch
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper import metrics
from log_shipper.deps import Deps
from log_shipper.domain.cutting import Cutter
from log_shipper.domain.messages import OpenedMessage, open_all
from log_shipper.domain.pacing import Pace
from log_shipper.domain.rewinding import rewind_to
from log_shipper.domain.routing import Routed, route
from log_shipper.domain.running import Running
from log_shipper.domain.selecting import NO_FACTS, HostFacts
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Progress, Refusal
from log_shipper.store import batches, dead_letters, destinations, hosts, leases, ledger
from log_shipper.store.stream import LogReader, StoredMessage, StreamState, state

log = structlog.get_logger()

IDLE_SECONDS = 2.0
MOST_DOUBLINGS = 30
ERROR_CHARACTERS = 500
LONGEST_ASKED_SECONDS = 300.0  # a destination that asks for more is tried again after that


class Backoff:
    """How long to wait after failures in a row."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self.failures = 0

    def next(self) -> float:
        """Count a failure; return the seconds to wait."""
        self.failures += 1
        doubled = self._retry.first_seconds * 2.0 ** min(self.failures - 1, MOST_DOUBLINGS)
        return min(doubled, self._retry.longest_seconds)

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0


class Worker:
    """Works for one destination until it is cancelled, or until the books of one that was taken away are closed."""

    def __init__(self, destination: Running, deps: Deps) -> None:
        self.destination = destination
        self._resting = asyncio.Event()
        self._resting.set()
        self._deps = deps
        self._backoff = Backoff(destination.retry)
        self._begun: tuple[int, int, Progress] | None = None

    def is_delivering(self, so: bool) -> None:
        """Note whether a cancellation would leave lines at the destination that nobody knows of."""
        if so:
            self._resting.clear()
        else:
            self._resting.set()

    async def rest(self, seconds: float) -> None:
        """Wait so long, at most, until no batch is being delivered."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._resting.wait(), seconds)

    def begin(self, batch_id: int, attempt: int, progress: Progress) -> None:
        """Keep what becomes of a batch until it is settled."""
        self._begun = batch_id, attempt, progress

    def progress_of(self, recorded: RecordedBatch) -> Progress | None:
        """Return how far a batch is; None when another process has begun to deliver it, and nobody knows."""
        if not recorded.attempts:
            return Progress()
        if self._begun is not None and self._begun[:2] == (recorded.id, recorded.attempts):
            return self._begun[2]
        return None

    async def run(self) -> None:
        """Work. A destination that is down holds only its own cursor."""
        name = self.destination.name
        try:
            while True:
                try:
                    async with leases.hold(self._deps.engine, f"destination:{name}") as lease:
                        await Drain(self, self._deps, lease).run()
                        return
                except Exception as error:  # noqa: BLE001 - the last resort: one destination must not stop the others
                    heed()
                    await self.wait_after(error)
                finally:
                    self.is_delivering(False)
        finally:
            await self.destination.sink.close()

    async def wait_after(self, error: Exception) -> None:
        """Say that deliveries fail, and wait as long as the back-off says and the destination asks, within reason."""
        asked = error.retry_after if isinstance(error, DestinationDown) else 0.0
        name, delay = self.destination.name, max(self._backoff.next(), min(asked, LONGEST_ASKED_SECONDS))
        metrics.FAILING.labels(name).set(1)
        metrics.FAILURES.labels(name).inc()
        log.warning("destination waits", destination=name, error=repr(error), seconds=delay)
        text = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS].replace("\0", "")
        await self._note(text)
        await asyncio.sleep(delay)

    async def succeeded(self) -> None:
        """Say that deliveries do not fail."""
        metrics.FAILING.labels(self.destination.name).set(0)
        if self._backoff.failures:
            self._backoff.reset()
            await self._note(None)

    async def _note(self, error: str | None) -> None:
        """Write down the failure or its end, for people; when that fails too the log has it."""
        try:
            async with self._deps.sessions.begin() as session:
                if error is None:
                    await destinations.note_success(session, self.destination.name)
                else:
                    await destinations.note_failure(session, self.destination.name, error)
        except outage.kinds() as trouble:
            log.warning("a destination's state is not written", error=repr(trouble))


class Drain:
    """The work while the lease is held."""

    def __init__(self, worker: Worker, deps: Deps, lease: leases.Lease) -> None:
        self._worker = worker
        self._destination = worker.destination
        self._sink = worker.destination.sink
        self._deps = deps
        self._lease = lease
        self._reader = LogReader(deps.bus)
        self._pace = Pace(worker.destination.rate)
        self._cursor = 0

    async def run(self) -> None:
        """Finish what was recorded, then go on. Ends by an exception, or at the end of one that was taken away."""
        try:
            await self._recover()
            await self._worker.succeeded()
            while not self._is_over():
                await asyncio.sleep(self._pace.wait(time.monotonic()))
                messages = await self._collect()
                await self._lease.confirm()
                if messages:
                    await self._settle(await self._record(messages), messages)
                elif self._destination.until is not None:
                    await self._skip_to_end()
        finally:
            await self._reader.close()

    def _is_over(self) -> bool:
        return self._destination.until is not None and self._cursor >= self._destination.until

    async def _skip_to_end(self) -> None:
        """Close the books of a destination whose last messages are not in the stream any more."""
        if (await state(self._deps.bus)).first_sequence <= int(self._destination.until or 0):
            return
        async with self._deps.sessions.begin() as session:
            await self._lock(session)
            await destinations.move(session, self._destination.name, int(self._destination.until or 0))
        self._cursor = int(self._destination.until or 0)

    async def _recover(self) -> None:
        """Deliver again the batch that was recorded and not settled, if there is one."""
        found = await state(self._deps.bus)
        async with self._deps.sessions.begin() as session:
            self._cursor = await self._place(session, found)
            recorded = await batches.unsettled(session, self._destination.name)
        await self._reader.seek(self._cursor + 1)
        if recorded is None:
            return
        messages = await self._read_range(recorded.last_sequence)
        lines = sum(message.lines for message in messages)
        if lines != recorded.lines:
            log.error(
                "the stream lost lines of a recorded batch",
                destination=self._destination.name, batch=recorded.id, recorded=recorded.lines, found=lines,
            )  # fmt: skip
        await self._settle(recorded, messages)

    async def _place(self, session: AsyncSession, found: StreamState) -> int:
        """Return the cursor, moved back when the stream is not the one it was."""
        name = self._destination.name
        cursor, created_at = await destinations.place(session, name)
        target = rewind_to(found, cursor, created_at)
        if target is not None:
            log.error("the stream is not the one it was, cursor moved", destination=name, cursor=cursor, to=target)
            await batches.forget_beyond(session, name, 0 if created_at != found.created_at else target)
        if target is not None or created_at is None:
            cursor = cursor if target is None else target
            await destinations.place_anew(session, name, cursor, found.created_at)
        return cursor

    async def _lock(self, session: AsyncSession) -> datetime:
        """Lock the destination's row; return when it was made."""
        name, until = self._destination.name, self._destination.until
        return (await destinations.lock(session, name, self._cursor, until)).created_at

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
        limits, until = self._destination.limits, self._destination.until
        cutter = Cutter(limits)
        messages: list[StoredMessage] = []
        deadline = 0.0
        while not cutter.is_full:
            wait = deadline - time.monotonic() if messages else IDLE_SECONDS
            message = await self._reader.next(wait)
            if message is None:
                break
            is_beyond = until is not None and message.sequence > until
            if is_beyond or not cutter.takes(len(message.data), message.lines):
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
            await self._lock(session)
            return await batches.record(session, self._destination.name, first, last, lines, target)

    async def _settle(self, recorded: RecordedBatch, messages: list[StoredMessage]) -> None:
        """Deliver, then move the cursor, mark the batch and write the books in one transaction."""
        opened, poison = open_all(messages)
        routed = route(opened, poison, self._destination.selection, self._destination.limits, await self._facts(opened))
        if routed.chunks:
            await self._deliver(recorded, messages, routed)
        await self._bury(routed)
        async with self._deps.sessions.begin() as session:
            await self._lock(session)
            await batches.settle(session, int(recorded.id or 0))
            await ledger.add(session, self._destination.name, routed.tally)
            await destinations.move(session, self._destination.name, recorded.last_sequence)
        self._go_on(recorded, routed)

    def _go_on(self, recorded: RecordedBatch, routed: Routed) -> None:
        """Go on behind a batch."""
        self._worker.is_delivering(False)
        self._cursor = recorded.last_sequence
        lines, size = sum(chunk.lines for chunk in routed.chunks), sum(len(chunk.body) for chunk in routed.chunks)
        self._pace.sent(time.monotonic(), lines, size)
        metrics.BATCHES.labels(self._destination.name).inc()

    async def _facts(self, opened: list[OpenedMessage]) -> HostFacts:
        selection = self._destination.selection
        if not selection.needs_facts:
            return NO_FACTS
        ids = {segment.host_id for one in opened for segment in one.segments}
        async with self._deps.sessions.begin() as session:
            return HostFacts(
                await hosts.platforms(session, ids) if selection.wanted.platforms is not None else {},
                await hosts.labelled(session, ids, selection.wanted.labels or ()),
            )

    async def _deliver(self, recorded: RecordedBatch, messages: list[StoredMessage], routed: Routed) -> None:
        """Deliver until the destination has it; each try under the lease."""
        progress = self._worker.progress_of(recorded)
        if progress is None:
            is_doubtful = not self._sink.replaces
            progress = Progress(line.position for chunk in routed.chunks for line in chunk.each() if is_doubtful)
        async with self._deps.sessions.begin() as session:
            made_at = await self._lock(session)
            attempt = await batches.attempt(session, int(recorded.id or 0))
        self._worker.begin(int(recorded.id or 0), attempt, progress)
        batch = Batch(
            (_microseconds(made_at), int(recorded.id or 0)),
            recorded.first_sequence,
            recorded.last_sequence,
            messages[0].stored_at,
            routed.chunks,
            progress,
        )
        refusals = await self._persist(batch, recorded)
        routed.refuse([*progress.refusals, *refusals])
        for sequence, _ in progress.repeated:
            message = routed.messages[sequence]
            routed.tally.add(message.log_type, message.hour, "duplicates", 1)

    async def _persist(self, batch: Batch, recorded: RecordedBatch) -> list[Refusal]:
        """Try until the destination takes the batch; what it said of single lines is kept meanwhile."""
        while True:
            self._worker.is_delivering(True)
            try:
                refusals = await self._sink.deliver(batch, recorded.target)
            except DestinationDown as error:
                self._worker.is_delivering(False)
                await self._worker.wait_after(error)
                await self._lease.confirm()
            else:
                await self._worker.succeeded()
                return refusals

    async def _bury(self, routed: Routed) -> None:
        """Put what nobody can deliver in stream DEAD; when that is full, the batch waits."""
        for message, reason in routed.poison:
            await dead_letters.bury(
                self._deps.bus, destination=self._destination.name, sequence=message.sequence, subject=message.subject,
                body=message.data, reason=reason,
            )  # fmt: skip
        for refusal in routed.refusals:
            await dead_letters.bury(
                self._deps.bus, destination=self._destination.name, sequence=refusal.sequence,
                subject=routed.messages[refusal.sequence].subject, body=refusal.line, reason=refusal.reason,
                index=refusal.index,
            )  # fmt: skip


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
