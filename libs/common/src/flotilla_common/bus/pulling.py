"""Pull the messages of one consumer: one request open at a time, messages handed on as they come.

nats-py's own fetch (2.15) may return while its request is still open at the server. A message that comes by that one
while the next fetch waits is kept from the caller until the old request ends, 5 s at worst.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.msg import Msg

from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.cancellation import heed

log = structlog.get_logger()

NEXT = "$JS.API.CONSUMER.MSG.NEXT"
GRACE_SECONDS = 1.0  # after a request's time, until its end is taken for lost
LONGEST_HOLD_SECONDS = 600.0  # a handler that hangs for ever must not keep its messages from other replicas
NOTHING_CAME = frozenset({"404", "408"})
NO_RESPONDERS = "503"
ENOUGH_CAME = (("409", "Message Size Exceeds MaxBytes"), ("409", "Batch Completed"))  # in bytes
NANOSECONDS = 1_000_000_000


class Pull:
    """Pulls from a consumer that exists. An async context manager: leaving it forgets what is on its way.

    At most `batch` messages are in hand, those included that wait here for the next `take`. With `ack_wait_seconds`
    (the consumer's) the server is told three times in that time that they are worked on: a handler may take longer, up
    to LONGEST_HOLD_SECONDS, and what a killed process had in hand comes again soon all the same. With `most_bytes` one
    request brings no more than that; it must be more than any message has.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        *,
        ack_wait_seconds: float | None = None,
        most_bytes: int | None = None,
    ) -> None:
        self._bus = bus
        self._subject = f"{NEXT}.{stream}.{consumer}"
        self._came: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._open = 0  # messages that the request at the server may still bring
        self._in_hand: list[Msg] = []  # what the last request has brought, settled or not
        self._asked_at = 0.0
        self._ack_wait_seconds = ack_wait_seconds
        self._more = {} if most_bytes is None else {"max_bytes": most_bytes}
        self._holding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(self._inbox, cb=self._has_come)
        self._bus.on_reconnect.add(self._ask_again)
        if self._ack_wait_seconds is not None:
            self._holding = asyncio.create_task(self._hold(self._ack_wait_seconds / 3))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bus.on_reconnect.discard(self._ask_again)
        if self._holding is not None:
            self._holding.cancel()
        if self._bus.client.is_connected and not self._bus.client.is_closed:
            await self._subscription.unsubscribe()

    async def take(self, batch: int, seconds: float) -> list[Msg]:
        """Return what has come, up to `batch` messages, as soon as there is one; nothing after about `seconds`.

        Raises:
            nats.js.errors.APIError: the consumer is gone, or refuses.
            nats.errors.NoRespondersError: JetStream is not there.

        """
        if self._open <= 0 and self._came.empty():
            await self._ask(batch, seconds)
        taken: list[Msg] = []
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                while not taken and self._open > 0:
                    self._note(await self._came.get(), taken)
        except TimeoutError:
            self._open = 0
        while len(taken) < batch and not self._came.empty():
            self._note(self._came.get_nowait(), taken)
        return taken

    async def _has_come(self, message: Msg) -> None:
        if message.reply:
            self._in_hand.append(message)
        await self._came.put(message)

    async def _hold(self, seconds: float) -> None:
        """Tell the server every so many seconds that what is in hand is worked on."""
        while True:
            await asyncio.sleep(seconds)
            if time.monotonic() - self._asked_at > LONGEST_HOLD_SECONDS:
                continue
            try:
                for message in [message for message in self._in_hand if not message.is_acked]:
                    if not message.is_acked:  # it may have been while the ones before were told of
                        await message.in_progress()
            except outage.kinds(nats.errors.Error) as error:
                log.warning("the bus does not hear what is worked on", subject=self._subject, error=repr(error))
            heed()

    def _ask_again(self) -> None:
        """Take the open request for lost: a server forgets it with the connection."""
        self._came.put_nowait(None)

    async def _ask(self, batch: int, seconds: float) -> None:
        self._in_hand.clear()
        self._asked_at = time.monotonic()
        request = {"batch": batch, "expires": int(seconds * NANOSECONDS), **self._more}
        await self._bus.client.publish(self._subject, msgspec.json.encode(request), reply=self._inbox)
        self._open = batch

    def _note(self, message: Msg | None, taken: list[Msg]) -> None:
        if message is None:
            self._open = 0
        elif message.reply:
            self._open -= 1
            taken.append(message)
        else:
            self._open = 0
            _raise_unless_it_only_ended(message)


def _raise_unless_it_only_ended(message: Msg) -> None:
    headers = message.headers or {}
    status = headers.get("Status", "")
    if status == NO_RESPONDERS:
        raise nats.errors.NoRespondersError
    description = headers.get("Description", "unknown status")
    if status not in NOTHING_CAME and (status, description) not in ENOUGH_CAME:
        raise nats.js.errors.APIError(code=int(status or 0), description=description)
