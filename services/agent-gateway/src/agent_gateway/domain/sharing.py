"""One message for what many hosts bring: what goes to one subject is gathered for some milliseconds, and each waits.

A message of its own for every POST would cost the door, the stream and its reader more than all the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

import structlog
from flotilla_common.deadlines import Deadlines
from flotilla_common.errors import FleetError, Unavailable

from agent_gateway.domain import patience
from agent_gateway.domain.posts import Told

LINGER_SECONDS = 0.01
FLUSH_BYTES = 256 * 1024

Key = TypeVar("Key", bound=Hashable)
Note = TypeVar("Note")

log = structlog.get_logger()


class TooSlow(Unavailable):
    """It is not known in time whether the message is in custody."""


class Load(Generic[Note]):
    """What will be one message: `pieces` of bytes with a note about each."""

    __slots__ = ("notes", "pieces", "size", "timer", "waiting")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.pieces: list[bytes] = []
        self.notes: list[Note] = []
        self.size = 0
        self.waiting: list[Told] = []
        self.timer = timer

    def settle(self, failure: FleetError | None) -> None:
        """Tell everybody who waits."""
        waiting, self.waiting = self.waiting, []
        for told in waiting:
            try:
                told(failure)
            except Exception:  # a bug; the others must hear
                log.exception("what became of a piece could not be told")


class Sharing(Generic[Key, Note]):
    """Gathers loads by key and sends them. `send` returns once the message is in custody, or raises a FleetError.

    A load goes out after LINGER_SECONDS, or when it has `flush_bytes`. With `at_once` also as soon as no other one of
    its key is on the way: the faster messages are stored, the sooner the next goes, with as much as came meanwhile.
    """

    def __init__(
        self,
        send: Callable[[Key, Load[Note]], Awaitable[None]],
        *,
        message_bytes: int,
        flush_bytes: int = FLUSH_BYTES,
        at_once: bool = False,
    ) -> None:
        self._send = send
        self._message_bytes = message_bytes
        self._flush_bytes = flush_bytes
        self._at_once = at_once
        self._open: dict[Key, Load[Note]] = {}
        self._on_their_way: Counter[Key] = Counter()
        self._tasks: set[asyncio.Task[FleetError | None]] = set()
        self._waits = Deadlines(lambda: patience.HAND_OVER_SECONDS)

    def add(self, key: Key, piece: bytes, note: Note, told: Told) -> None:
        """Put a piece into the next message of its key.

        `told` hears when the message is in custody; of Unavailable when that is not known within HAND_OVER_SECONDS, and
        of Refused when the stream said so.
        """
        load = self._open.get(key)
        if load is not None and load.size + len(piece) > self._message_bytes:
            self._flush(key)
            load = None
        if load is None:
            load = self._open[key] = self._new_load(key)
        load.pieces.append(piece)
        load.notes.append(note)
        load.waiting.append(told)
        load.size += len(piece)
        if load.size >= self._flush_bytes:
            self._flush(key)

    def _new_load(self, key: Key) -> Load[Note]:
        loop = asyncio.get_running_loop()
        load: Load[Note] = Load(loop.call_later(LINGER_SECONDS, self._flush, key))
        if self._at_once and not self._on_their_way[key]:
            loop.call_soon(self._flush_if_open, key, load)  # with what comes in the same turn of the loop
        return load

    def _flush_if_open(self, key: Key, load: Load[Note]) -> None:
        if self._open.get(key) is load:
            self._flush(key)

    def _flush(self, key: Key) -> None:
        load = self._open.pop(key)
        load.timer.cancel()
        self._on_their_way[key] += 1
        task = asyncio.get_running_loop().create_task(self._deliver(key, load))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, key, load))

    async def _deliver(self, key: Key, load: Load[Note]) -> FleetError | None:
        try:
            await self._waits.wait_for(self._send(key, load), TooSlow)
        except FleetError as error:
            return error
        return None

    def _end(self, key: Key, load: Load[Note], task: asyncio.Task[FleetError | None]) -> None:
        self._tasks.discard(task)
        self._on_their_way[key] -= 1
        load.settle(_failure_of(task))
        if self._at_once and not self._on_their_way[key] and key in self._open:
            self._flush(key)

    async def close(self) -> None:
        """Send what waits, and wait until it is in custody or refused."""
        while self._open or self._tasks:
            for key in list(self._open):
                self._flush(key)
            await asyncio.wait(self._tasks)


def _failure_of(task: asyncio.Task[FleetError | None]) -> FleetError | None:
    if task.cancelled():
        return Unavailable("stopping")
    bug = task.exception()
    if bug is None:
        return task.result()
    log.error("a message could not be sent", exc_info=bug)
    return Unavailable("a bug")
