"""What a destination gets beside new lines: its dead letters once more, and parts of the stream once more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import structlog
from flotilla_common.db.models.log_shipper import Batch as RecordedBatch
from flotilla_common.db.models.log_shipper import DeadLetter, Replay

from log_shipper.consumers.delivery import Delivery, Sent, Work
from log_shipper.deps import Deps
from log_shipper.domain.cutting import Cutter
from log_shipper.domain.dead_letters import open_letter
from log_shipper.domain.messages import OpenedMessage
from log_shipper.domain.running import Running
from log_shipper.errors import BadManifest
from log_shipper.store import dead_letters, replays
from log_shipper.store.source import LogSource
from log_shipper.store.stream import StoredMessage

log = structlog.get_logger()

LOOK_SECONDS = 1.0
MOST_LETTERS = 1_000
WAIT_SECONDS = 2.0
NOTHING: Sent = (0, 0)


class Repeating:
    """Does a batch of it at a time, for one destination."""

    def __init__(self, destination: Running, deps: Deps, delivery: Delivery) -> None:
        self._destination = destination
        self._deps = deps
        self._delivery = delivery
        self._source = LogSource(deps.sessions, deps.bus, deps.blobs)
        self._looked_at = 0.0
        self._letters: Sequence[DeadLetter] = ()
        self._replay: Replay | None = None
        self._place: tuple[int | None, int] | None = None  # where the source stands: replay, sequence

    @property
    def has_work(self) -> bool:
        """Whether something waits."""
        return bool(self._letters) or self._replay is not None

    async def look(self) -> None:
        """Find out what waits, not more often than every second."""
        if time.monotonic() < self._looked_at + LOOK_SECONDS or self._destination.until is not None:
            return
        await self._find()

    async def _find(self) -> None:
        name = self._destination.name
        async with self._deps.sessions.begin() as session:
            self._letters = await dead_letters.asked(session, name, MOST_LETTERS)
            self._replay = await replays.open_of(session, name)
        self._looked_at = time.monotonic()

    async def run(self) -> Sent:
        """Do one batch; dead letters come first."""
        if self._letters:
            sent = await self._run_letters(self._letters)
        elif self._replay is not None:
            sent = await self._run_replay(self._replay)
        else:
            return NOTHING
        await self._find()
        return sent

    async def recover(self, recorded: RecordedBatch) -> None:
        """Deliver again a batch that was recorded and not settled."""
        async with self._deps.sessions.begin() as session:
            letters = await dead_letters.by_ids(session, recorded.letters)
            found = None if recorded.replay_id is None else await replays.find(session, recorded.replay_id)
        if recorded.source == "dead":
            opened, kept = await self._open(letters)
            await self._delivery.settle(recorded, self._of_letters(opened, kept))
            return
        await self._source.seek(recorded.first_sequence, self._delivery.stream_created_at)
        messages = await self._source.read_to(recorded.last_sequence, WAIT_SECONDS)
        work = replace(Work.live(recorded.first_sequence, messages), source="replay", replay=found)
        await self._delivery.settle(recorded, work)

    async def close(self) -> None:
        """Forget what is open."""
        await self._source.close()

    async def _run_letters(self, letters: Sequence[DeadLetter]) -> Sent:
        cutter = Cutter(self._destination.limits)
        fitting = []
        for letter in letters:
            if not cutter.takes(letter.size_bytes, letter.lines):
                break
            fitting.append(letter)
        opened, kept = await self._open(fitting)
        return await self._delivery.run(self._of_letters(opened, kept)) if opened else NOTHING

    async def _open(self, letters: Sequence[DeadLetter]) -> tuple[list[OpenedMessage], list[DeadLetter]]:
        """Read letters; one that is lost is marked so, and stays for people to see."""
        opened: list[OpenedMessage] = []
        kept: list[DeadLetter] = []
        for letter in letters:
            data = await dead_letters.read(self._deps.bus, letter.dead_sequences)
            try:
                opened.append(open_letter(letter.sequence, data))
                kept.append(letter)
            except BadManifest as error:
                log.warning("a dead letter cannot be read", destination=letter.destination, error=str(error))
                async with self._deps.sessions.begin() as session:
                    await dead_letters.give_up(session, int(letter.id or 0), str(error))
        return opened, kept

    def _of_letters(self, opened: Sequence[OpenedMessage], letters: Sequence[DeadLetter]) -> Work:
        sequences = [one.message.sequence for one in opened]
        return Work("dead", min(sequences, default=0), max(sequences, default=0), opened, letters=letters)

    async def _run_replay(self, replay: Replay) -> Sent:
        start = replay.cursor_sequence + 1
        if self._place != (replay.id, start):
            await self._source.seek(start, self._delivery.stream_created_at)
        self._place = None
        cutter = Cutter(self._destination.limits)
        messages: list[StoredMessage] = []
        while not cutter.is_full:
            message = await self._source.next(WAIT_SECONDS if not messages else 0.0)
            if message is None:
                break
            if message.sequence > replay.last_sequence or not cutter.takes(len(message.data), message.lines):
                self._source.unread(message)
                break
            messages.append(message)
        if not messages:
            await self._skip(replay)
            return NOTHING
        sent = await self._delivery.run(replace(Work.live(start, messages), source="replay", replay=replay))
        self._place = replay.id, messages[-1].sequence + 1
        return sent

    async def _skip(self, replay: Replay) -> None:
        """End a replay whose last messages are gone for good; one whose messages are late waits."""
        if await self._source.is_beyond(replay.last_sequence):
            async with self._deps.sessions.begin() as session:
                await replays.end(session, int(replay.id or 0))
