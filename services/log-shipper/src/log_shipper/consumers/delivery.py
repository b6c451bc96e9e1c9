"""A batch's way: its exact range is recorded, it is delivered, and settled with the books in one transaction.

Whoever finds a recorded batch that is not settled delivers exactly that range again, and the destination replaces what
an earlier try left, or the books say how many lines may stand there twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from flotilla_common.db.leases import Lease
from flotilla_common.db.models.log_shipper import Batch as RecordedBatch
from flotilla_common.db.models.log_shipper import DeadLetter, Replay
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper import metrics
from log_shipper.consumers.condition import Condition
from log_shipper.deps import Deps
from log_shipper.domain.dead_letters import letters_of
from log_shipper.domain.messages import OpenedMessage, open_all
from log_shipper.domain.routing import Routed, route
from log_shipper.domain.selecting import NO_FACTS, HostFacts, Selection
from log_shipper.domain.spilling import Need, allowed_bytes, lag_bytes
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Progress, Refusal
from log_shipper.store import batches, dead_letters, destinations, hosts, ledger, replays
from log_shipper.store.dead_letters import Letter
from log_shipper.store.stream import StoredMessage, state

EVERYTHING = Selection.of_everything()
Sent = tuple[int, int]
"""Lines and bytes that went out."""


@dataclass(frozen=True)
class Work:
    """What a batch is of: new lines of the stream, lines of it once more, or dead letters."""

    source: Literal["live", "replay", "dead"]
    first_sequence: int
    last_sequence: int
    opened: Sequence[OpenedMessage]
    poison: Sequence[tuple[StoredMessage, str]] = ()
    replay: Replay | None = None
    letters: Sequence[DeadLetter] = field(default_factory=tuple)

    @classmethod
    def live(cls, first_sequence: int, messages: Sequence[StoredMessage]) -> Work:
        """Return new lines, from behind the cursor on."""
        opened, poison = open_all(messages)
        return cls("live", first_sequence, messages[-1].sequence if messages else first_sequence, opened, poison)

    @property
    def started_at(self) -> datetime:
        """Return the custody time of its first message."""
        times = [one.message.stored_at for one in self.opened] + [message.stored_at for message, _ in self.poison]
        return min(times, default=datetime.fromtimestamp(0, UTC))

    @property
    def last_stored_at(self) -> datetime | None:
        """Return the custody time of the message at its end; None when that is gone."""
        messages = [*(one.message for one in self.opened), *(message for message, _ in self.poison)]
        return next((one.stored_at for one in messages if one.sequence == self.last_sequence), None)

    @property
    def lines(self) -> int:
        """Return how many lines its messages count for."""
        return sum(one.message.lines for one in self.opened) + sum(message.lines for message, _ in self.poison)


class Delivery:
    """Delivers one batch at a time for a destination, under its lease."""

    def __init__(self, condition: Condition, deps: Deps, lease: Lease) -> None:
        self._condition = condition
        self._destination = condition.destination
        self._sink = condition.destination.sink
        self._deps = deps
        self._lease = lease
        self.cursor = 0
        self.counted_from = 0  # the intake has not counted messages up to here for this destination
        self.stream_created_at = datetime.fromtimestamp(0, UTC)

    async def lock(self, session: AsyncSession, *, settles: int | None = None) -> datetime:
        """Lock the destination's row; return when it was made. `settles`: a batch up to here was delivered.

        Raises:
            LeaseLost: another replica has moved its cursor.

        """
        name, until = self._destination.name, self._destination.until
        return (await destinations.lock(session, name, self.cursor, until, settles=settles)).created_at

    async def run(self, work: Work) -> Sent:
        """Record, deliver and settle a batch; return what went out."""
        target = await self._sink.plan(work.first_sequence, work.last_sequence, work.started_at)
        recorded = RecordedBatch(
            destination=self._destination.name,
            first_sequence=work.first_sequence,
            last_sequence=work.last_sequence,
            lines=work.lines,
            target=target,
            source=work.source,
            replay_id=None if work.replay is None else work.replay.id,
            letters=[int(letter.id or 0) for letter in work.letters],
        )
        async with self._deps.sessions.begin() as session:
            await self.lock(session)
            await batches.record(session, recorded)
        return await self.settle(recorded, work)

    async def settle(self, recorded: RecordedBatch, work: Work) -> Sent:
        """Deliver a recorded batch, then move the cursor, mark the batch and write the books in one transaction."""
        routed = await self._route(work)
        if routed.chunks:
            await self._deliver(recorded, work, routed)
        letters = [] if work.source == "replay" else await self._bury(recorded, letters_of(routed, work.opened))
        async with self._deps.sessions.begin() as session:
            await self.lock(session, settles=recorded.last_sequence)
            await batches.settle(session, int(recorded.id or 0))
            await self._write_books(session, recorded, work, routed)
            await dead_letters.add(session, self._destination.name, letters)
        await self._forget_letters(work)
        self._condition.is_delivering(False)
        metrics.BATCHES.labels(self._destination.name).inc()
        return sum(chunk.lines for chunk in routed.chunks), sum(len(chunk.body) for chunk in routed.chunks)

    async def _write_books(self, session: AsyncSession, recorded: RecordedBatch, work: Work, routed: Routed) -> None:
        name = self._destination.name
        if work.source == "live":
            routed.count_received(self.counted_from)
            await ledger.add(session, name, routed.tally)
            await destinations.move(session, name, recorded.last_sequence, work.last_stored_at)
            self.cursor = recorded.last_sequence
        elif work.source == "replay":
            await ledger.add(session, name, routed.tally.repeated())
            if work.replay is not None:
                await replays.move(session, work.replay, recorded.last_sequence, routed.lines)
        else:
            await ledger.add(session, name, routed.tally.revived())
            await dead_letters.remove(session, [int(letter.id or 0) for letter in work.letters])

    async def _route(self, work: Work) -> Routed:
        if work.source == "dead":  # they were chosen before
            return route(work.opened, work.poison, EVERYTHING, self._destination.limits)
        selection = self._destination.selection
        return route(work.opened, work.poison, selection, self._destination.limits, await self._facts(work.opened))

    async def _facts(self, opened: Sequence[OpenedMessage]) -> HostFacts:
        selection = self._destination.selection
        if not selection.needs_facts:
            return NO_FACTS
        ids = {segment.host_id for one in opened for segment in one.segments}
        async with self._deps.sessions.begin() as session:
            return HostFacts(
                await hosts.platforms(session, ids) if selection.wanted.platforms is not None else {},
                await hosts.labelled(session, ids, selection.wanted.labels or ()),
            )

    async def _deliver(self, recorded: RecordedBatch, work: Work, routed: Routed) -> None:
        """Deliver until the destination has it; each try under the lease."""
        known = self._condition.progress_of(recorded)
        progress = known or self._unknown_progress(recorded, routed)
        tries = max(recorded.attempts + (known is None), 1 + progress.most_copies)
        made_at = await self._begin_try(recorded, progress, tries)
        batch = Batch(
            (int(made_at.timestamp() * 1_000_000), int(recorded.id or 0)),
            recorded.first_sequence,
            recorded.last_sequence,
            work.started_at,
            routed.chunks,
            progress,
        )
        refusals = [*await self._persist(batch, recorded), *progress.refusals]
        routed.refuse(refusals)
        for sequence, copies in progress.copies(refusals):
            message = routed.messages[sequence]
            routed.tally.add(message.log_type, message.hour, "duplicates", copies)

    def _unknown_progress(self, recorded: RecordedBatch, routed: Routed) -> Progress:
        """Return what is known of a batch that another process has begun: each of its tries may have brought all."""
        if self._sink.replaces:
            return Progress()
        return Progress((line.position for chunk in routed.chunks for line in chunk.each()), recorded.attempts)

    async def _begin_try(self, recorded: RecordedBatch, progress: Progress, tries: int) -> datetime:
        """Write down how many copies of a line there may be once this try is over; return when we were made."""
        async with self._deps.sessions.begin() as session:
            made_at = await self.lock(session)
            await batches.begin_try(session, int(recorded.id or 0), tries)
        recorded.attempts = tries
        self._condition.begin(int(recorded.id or 0), tries, progress)
        return made_at

    async def _persist(self, batch: Batch, recorded: RecordedBatch) -> list[Refusal]:
        """Try until the destination takes the batch; what it said of single lines is kept meanwhile."""
        while True:
            if await self._gives_up(recorded):
                reason = f"the backlog was full while deliveries failed: {self._condition.error}"
                return [Refusal.of(line, reason) for line in batch.missing()]
            self._condition.is_delivering(True)
            try:
                refusals = await self._sink.deliver(batch, recorded.target)
            except DestinationDown as error:
                self._condition.is_delivering(False)
                await self._condition.wait_after(error, is_over=partial(self._gives_up, recorded))
                await self._lease.confirm()
                if batch.progress.most_copies >= recorded.attempts:
                    await self._begin_try(recorded, batch.progress, 1 + batch.progress.most_copies)
            else:
                await self._condition.succeeded()
                return refusals

    async def _gives_up(self, recorded: RecordedBatch) -> bool:
        """Whether what waits is more than may wait, while deliveries fail, so that this batch becomes dead letters."""
        backlog = self._destination.backlog
        if backlog.when_full != "dead_letter" or recorded.source != "live" or not self._condition.is_waiting:
            return False
        found = await state(self._deps.bus)
        limit = allowed_bytes(Need(self.cursor, backlog.bytes), found)
        return bool(found.messages) and lag_bytes(Need(self.cursor), found) > limit

    async def _bury(self, recorded: RecordedBatch, letters: Sequence[Letter]) -> list[Letter]:
        """Put what nobody can deliver in stream DEAD; when that is full, the batch waits."""
        name, batch_id = self._destination.name, int(recorded.id or 0)
        return [await dead_letters.bury(self._deps.bus, name, batch_id, letter) for letter in letters]

    async def _forget_letters(self, work: Work) -> None:
        """Free the room of dead letters that were tried again; one that stays behind is swept later."""
        sequences = [sequence for letter in work.letters for sequence in letter.dead_sequences]
        if sequences:
            await asyncio.shield(dead_letters.free(self._deps.bus, sequences))
