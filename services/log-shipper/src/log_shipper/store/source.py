"""The messages of LOGS in order from a position, wherever they are: in the blob store, else in the stream.

The janitor stores a part before it purges it. So a reader looks in the blob store where the stream has a gap, and what
it does not find there either is gone for good.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime

import structlog
from flotilla_common.blobs import Blobs
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.logs import STREAM
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from log_shipper.errors import StreamMadeAnew
from log_shipper.store import segments
from log_shipper.store.stream import LogReader, StoredMessage, state

log = structlog.get_logger()


class LogSource:
    """Reads from the sequence given to `seek`. Not for several tasks at once."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], bus: Bus, blobs: Blobs | None) -> None:
        self._sessions = sessions
        self._bus = bus
        self._blobs = blobs
        self._reader = LogReader(bus)
        self._stored: deque[StoredMessage] = deque()  # of the segment at hand
        self._stream_created_at: datetime | None = None
        self._wanted = 0
        self._is_streaming = False
        self._is_over = False  # the stream is not this one any more, and the blob store has no more of it

    async def seek(self, sequence: int, stream_created_at: datetime) -> None:
        """Read from this sequence on (or the first one after it that exists), of the stream that was made then.

        Raises:
            StreamMadeAnew: the stream ends more than one message before it.
            Unavailable: the blob store does not answer.

        """
        self._stored.clear()
        self._is_streaming = self._is_over = False
        self._wanted, self._stream_created_at = sequence, stream_created_at
        if not await self._load():
            await self._stream()

    async def next(self, timeout: float) -> StoredMessage | None:
        """Return the next message; None when none came in time, or when none can come any more.

        Raises:
            Unavailable: reading must begin anew, or the blob store does not answer; `seek` again.

        """
        if not self._stored and not self._is_streaming and not await self._load():
            await self._stream()
        if self._is_over:
            return None
        if self._stored:
            message: StoredMessage | None = self._stored.popleft()
        else:
            message = await self._reader.next(timeout)
            if message is not None and message.sequence > self._wanted and await self._load():
                await self._leave()
                message = self._stored.popleft()
        if message is not None:
            self._wanted = message.sequence + 1
        return message

    def unread(self, message: StoredMessage) -> None:
        """Give the newest message back: `next` returns it again."""
        self._wanted = message.sequence
        if self._is_streaming:
            self._reader.unread(message)
        else:
            self._stored.appendleft(message)

    async def look_back(self) -> None:
        """When nothing comes: find out whether it was purged, and is in the blob store.

        Raises:
            StreamMadeAnew: nothing can come any more.

        """
        if self._is_over:
            raise StreamMadeAnew(f"{STREAM} is not the one it was, and the blob store has no more of that")
        if not self._is_streaming or (await state(self._bus)).first_sequence <= self._wanted:
            return
        if await self._load():
            await self._leave()

    @property
    def has_stored(self) -> bool:
        """Whether the next message is at hand, from the blob store."""
        return bool(self._stored)

    async def is_beyond(self, sequence: int) -> bool:
        """Whether no message up to this sequence can come any more."""
        if self._wanted > sequence or self._is_over:
            return True
        await self.look_back()
        if self._stored:
            return self._stored[0].sequence > sequence
        return (await state(self._bus)).first_sequence > sequence

    async def read_to(self, last: int, wait_seconds: float) -> list[StoredMessage]:
        """Return the messages up to this sequence; fewer when they are gone for good."""
        messages: list[StoredMessage] = []
        while True:
            message = await self.next(wait_seconds)
            if message is None:
                if await self.is_beyond(last):
                    return messages
                continue
            if message.sequence > last:
                self.unread(message)
                return messages
            messages.append(message)
            if message.sequence == last:
                return messages

    async def close(self) -> None:
        """Forget what is open."""
        self._stored.clear()
        await self._leave()

    async def _stream(self) -> None:
        if (await state(self._bus)).created_at != self._stream_created_at:
            self._is_over = True
            return
        await self._reader.seek(self._wanted)
        self._is_streaming = True

    async def _leave(self) -> None:
        self._is_streaming = False
        await self._reader.close()

    async def _load(self) -> bool:
        """Fetch the wanted message's segment, or the next one when the wanted message is not in the stream either."""
        if self._blobs is None or self._stream_created_at is None:
            return False
        async with self._sessions.begin() as session:
            found = await segments.next_of(session, self._stream_created_at, self._wanted)
        if found is None or (found.first_sequence > self._wanted and await self._is_in_stream()):
            return False
        if found.first_sequence > self._wanted:
            log.error("messages are nowhere any more", first=self._wanted, next=found.first_sequence)
        self._stored = deque(
            message for message in await segments.fetch(self._blobs, found) if message.sequence >= self._wanted
        )
        return bool(self._stored)

    async def _is_in_stream(self) -> bool:
        found = await state(self._bus)
        return found.created_at == self._stream_created_at and found.first_sequence <= self._wanted
