"""Read stream LOGS in order from a position, by an ephemeral pull consumer; bodies or headers alone.

One pull request is open at a time, bounded in messages and bytes, so that memory is bounded too. A message lost on the
way (a reconnect) shows as a gap in the consumer's own numbers: reading then starts again from the position.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats.errors
import nats.js.errors
from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.cancellation import heed
from flotilla_common.contracts.logs import LINES_HEADER, STREAM
from flotilla_common.errors import Unavailable
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from log_shipper.errors import StreamMadeAnew

REQUEST_MESSAGES = 512
REQUEST_BYTES = 16 * 1024 * 1024  # at least one message of the largest size fits
REQUEST_SECONDS = 5.0
GRACE_SECONDS = 3.0
INACTIVE_SECONDS = 60.0
REQUEST_ENDED = ("Message Size Exceeds MaxBytes", "Batch Completed")  # status 409, as harmless as a time-out
MOST_LINES = 10_000_000

OUTAGES = outage.kinds(nats.js.errors.Error, nats.errors.Error)


@dataclass(frozen=True)
class StoredMessage:
    """A message of LOGS. `data` is empty when only headers are read."""

    sequence: int
    stored_at: datetime
    subject: str
    lines: int
    data: bytes

    @property
    def log_type(self) -> str:
        """Return the log type that the subject names."""
        return self.subject.split(".")[1]

    @property
    def hour(self) -> datetime:
        """Return the hour in which custody began."""
        return self.stored_at.replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class StreamState:
    """What the stream holds now. It is empty when `first_sequence` is beyond `last_sequence`."""

    first_sequence: int
    last_sequence: int
    messages: int
    used_bytes: int
    max_bytes: int
    created_at: datetime


async def state(bus: Bus) -> StreamState:
    """Ask the server for the stream's state."""
    info = await bus.js.stream_info(STREAM)
    found, limit, created_at = info.state, int(info.config.max_bytes or 0), info.created
    if created_at is None:
        raise Unavailable(f"{STREAM}: the server does not say when it was made")
    return StreamState(found.first_seq, found.last_seq, found.messages, found.bytes, limit, created_at)


async def message_at(bus: Bus, sequence: int) -> StoredMessage | None:
    """Return one message without its body; None when the stream does not have it."""
    try:
        found = await bus.js.get_msg(STREAM, sequence, direct=True)
    except nats.js.errors.NotFoundError:
        return None
    stored_at = datetime.fromisoformat((found.headers or {})["Nats-Time-Stamp"])
    return StoredMessage(sequence, stored_at, found.subject or "", lines_of(found.headers), b"")


async def first_since(bus: Bus, found: StreamState, moment: datetime) -> int:
    """Return the sequence of the first message stored at this time or later; behind the last one when there is none."""
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_TIME,
        opt_start_time=moment,
        headers_only=True,
        inactive_threshold=5.0,
        mem_storage=True,
        num_replicas=1,
    )
    made = await bus.js.add_consumer(STREAM, config)
    try:
        waiting = int(made.num_pending or 0)
    finally:
        await bus.js.delete_consumer(STREAM, made.name)
    return found.last_sequence - waiting + 1


async def purge(bus: Bus, before_sequence: int) -> None:
    """Delete every message below a sequence."""
    await bus.js.purge_stream(STREAM, seq=before_sequence)


def lines_of(headers: dict[str, str] | None) -> int:
    """Return how many lines a message counts for: header `Lines`, or 1 when it makes no sense.

    Everything that counts lines uses this, so that the books balance whatever a message holds.
    """
    text = (headers or {}).get(LINES_HEADER, "")
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(MOST_LINES)):
        return 1
    return min(int(text), MOST_LINES)


class LogReader:
    """Reads from the sequence given to `seek`. Not for several tasks at once."""

    def __init__(self, bus: Bus, *, headers_only: bool = False, subject: str | None = None) -> None:
        self._bus = bus
        self._headers_only = headers_only
        self._subject = subject  # which messages; None: all
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._subscription: Any = None
        self._consumer: str | None = None
        self._delivered = 0
        self._asked = 0
        self._inbox = ""
        self._requests = 0
        self._expires = 0.0
        self._held: StoredMessage | None = None

    async def seek(self, sequence: int) -> None:
        """Read from this sequence on (or the first one after it that exists).

        Raises:
            StreamMadeAnew: the stream ends more than one message before it.

        """
        await self.close()
        found = await state(self._bus)
        if found.last_sequence < sequence - 1:
            raise StreamMadeAnew(f"{STREAM} ends at {found.last_sequence}, before cursor {sequence - 1}")
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=max(sequence, 1),
            headers_only=self._headers_only,
            filter_subject=self._subject,
            inactive_threshold=INACTIVE_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )
        self._consumer = (await self._bus.js.add_consumer(STREAM, config)).name
        self._queue = asyncio.Queue()
        self._delivered = self._asked = 0
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(
            f"{self._inbox}.*", cb=self._queue.put, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    async def next(self, timeout: float) -> StoredMessage | None:
        """Return the next message; None when none came in time.

        Raises:
            Unavailable: the consumer or a message was lost; `seek` again.

        """
        if self._held is not None:
            held, self._held = self._held, None
            return held
        deadline = time.monotonic() + timeout
        while True:
            heed()
            if not self._asked:
                await self._ask()
            message = await self._receive(deadline - time.monotonic())
            if message is None:
                self._check_request()
                return None
            if not self._is_status(message):
                return self._take(message)

    def unread(self, message: StoredMessage) -> None:
        """Give the newest message back: `next` returns it again."""
        self._held = message

    async def is_at_end(self) -> bool:
        """Whether `next` has returned every message that was in the stream when this was called.

        Raises:
            Unavailable: the consumer was lost; `seek` again.

        """
        try:
            found = await self._bus.js.consumer_info(STREAM, str(self._consumer))
        except nats.js.errors.NotFoundError as error:
            raise Unavailable(f"reading {STREAM}: the consumer is gone") from error
        is_all_here = found.delivered is not None and found.delivered.consumer_seq == self._delivered
        return found.num_pending == 0 and is_all_here and self._held is None

    async def close(self) -> None:
        """Forget the consumer; the server drops it by itself when it cannot be told."""
        subscription, consumer = self._subscription, self._consumer
        self._subscription = self._consumer = self._held = None
        try:
            if subscription is not None and self._bus.client.is_connected:
                await subscription.unsubscribe()
            if consumer is not None and self._bus.client.is_connected:
                await self._bus.js.delete_consumer(STREAM, consumer)
        except OUTAGES:
            return

    async def _ask(self) -> None:
        request = {
            "batch": REQUEST_MESSAGES,
            "max_bytes": REQUEST_BYTES,
            "expires": int(REQUEST_SECONDS * 1e9),
        }
        self._requests += 1
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self._consumer}"
        await self._bus.client.publish(subject, json.dumps(request).encode(), reply=self._current)
        self._asked = REQUEST_MESSAGES
        self._expires = time.monotonic() + REQUEST_SECONDS

    @property
    def _current(self) -> str:
        """Where the server's word about the open request comes; an earlier request's word comes elsewhere."""
        return f"{self._inbox}.{self._requests}"

    async def _receive(self, seconds: float) -> Msg | None:
        try:
            return self._queue.get_nowait()
        except asyncio.QueueEmpty:
            pass
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                return await self._queue.get()
        except TimeoutError:
            return None

    def _is_status(self, message: Msg) -> bool:
        """Whether this is the server's word about the request, not a message."""
        status = (message.headers or {}).get("Status")
        if status is None or message.reply:
            return False
        if message.subject != self._current:
            return True
        text = (message.headers or {}).get("Description", "")
        if status in {"404", "408"} or text.startswith(REQUEST_ENDED):
            self._asked = 0
            return True
        raise Unavailable(f"reading {STREAM}: {status} {text}")

    def _take(self, message: Msg) -> StoredMessage:
        place = message.metadata
        self._asked -= 1
        self._delivered += 1
        if place.sequence.consumer != self._delivered:
            raise Unavailable(f"reading {STREAM}: a message was lost on the way")
        return StoredMessage(
            place.sequence.stream,
            place.timestamp,
            message.subject,
            lines_of(message.headers),
            b"" if self._headers_only else message.data,
        )

    def _check_request(self) -> None:
        if time.monotonic() > self._expires + GRACE_SECONDS:
            raise Unavailable(f"reading {STREAM}: no word from the server about the pull request")
