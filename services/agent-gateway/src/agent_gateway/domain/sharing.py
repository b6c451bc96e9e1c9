"""One message for what many hosts bring: what goes to one subject is gathered for some milliseconds, and each waits.

A message of its own for every POST would cost the door, the stream and its reader more than all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from flotilla_common.deadlines import Deadlines
from flotilla_common.errors import FleetError, Unavailable

from agent_gateway.domain import patience

LINGER_SECONDS = 0.01
FLUSH_BYTES = 256 * 1024

Key = TypeVar("Key", bound=Hashable)
Note = TypeVar("Note")


class TooSlow(Unavailable):
    """It is not known in time whether the message is in custody."""


class Load(Generic[Note]):
    """What will be one message: `pieces` of bytes with a note about each."""

    __slots__ = ("last_at", "notes", "pieces", "size", "timer", "until", "waiting")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.notes: list[Note] = []
        self.size = 0
        self.waiting: list[asyncio.Future[None]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.last_at = self.until = 0.0  # when the last piece came, when it goes out at the latest: the loop's times

    def settle(self, failure: FleetError | None) -> None:
        """Tell everybody who waits."""
        for future in self.waiting:
            if not future.done():
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(failure)


class Sharing(Generic[Key, Note]):
    """Gathers loads by key and sends them. `send` returns once the message is in custody, or raises a FleetError.

    `quiet_seconds`: a load goes out sooner when nothing has come for so long.
    """

    def __init__(
        self,
        send: Callable[[Key, Load[Note]], Awaitable[None]],
        *,
        message_bytes: int,
        quiet_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._send = send
        self._quiet_seconds = quiet_seconds
        self._message_bytes = message_bytes
        self._open: dict[Key, Load[Note]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits = Deadlines(lambda: patience.HAND_OVER_SECONDS)

    def add(self, key: Key, piece: bytes, note: Note) -> asyncio.Future[None]:
        """Put a piece into the next message of its key.

        The future is the caller's own: done when the message is in custody, failed with Unavailable when that is not
        known within HAND_OVER_SECONDS, or with Refused when the stream said so.
        """
        load = self._open.get(key)
        if load is not None and load.size + len(piece) > self._message_bytes:
            self._flush(key)
            load = None
        loop = self._loop = self._loop or asyncio.get_running_loop()  # to ask for it is a call of the system's
        now = loop.time()
        if load is None:
            load = self._open[key] = Load()
            load.until = now + LINGER_SECONDS
            load.timer = loop.call_later(min(self._quiet_seconds, LINGER_SECONDS), self._look, loop, key, load)
        load.last_at = now
        load.pieces.append(piece)
        load.notes.append(note)
        load.size += len(piece)
        future: asyncio.Future[None] = loop.create_future()
        load.waiting.append(future)
        if load.size >= FLUSH_BYTES:
            self._flush(key)
        return future

    def _look(self, loop: asyncio.AbstractEventLoop, key: Key, load: Load[Note]) -> None:
        """Send a load when it is quiet. One timer that looks again costs less than one that each piece moves."""
        if loop.time() >= (look_at := self._look_at(load)):
            self._flush(key)
        else:
            load.timer = loop.call_at(look_at, self._look, loop, key, load)

    def _look_at(self, load: Load[Note]) -> float:
        return min(load.last_at + self._quiet_seconds, load.until)

    def _flush(self, key: Key) -> None:
        load = self._open.pop(key)
        if load.timer is not None:
            load.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._deliver(key, load))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, key: Key, load: Load[Note]) -> None:
        failure: FleetError | None = Unavailable("stopping")
        try:
            await self._waits.wait_for(self._send(key, load), TooSlow)
            failure = None
        except FleetError as error:
            failure = error
        finally:
            load.settle(failure)

    async def close(self) -> None:
        """Send what waits, and wait until it is in custody or refused."""
        for key in list(self._open):
            self._flush(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def all_of(futures: list[asyncio.Future[None]]) -> None:
    """Wait for all; raise what the first that failed raises. Nobody is left who would complain of an unseen failure."""
    failure: BaseException | None = None
    try:
        for future in futures:
            try:
                await future
            except FleetError as error:
                failure = failure or error
    except asyncio.CancelledError:
        for future in futures:
            future.cancel()
        raise
    if failure is not None:
        raise failure
