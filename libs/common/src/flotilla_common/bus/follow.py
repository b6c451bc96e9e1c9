"""Follow a stream or bucket from memory: every process gets every message, in order, through any outage.

Built on an ephemeral pull consumer that is made again from the last sequence seen whenever it is lost. So is it when a
message is lost on the way (a reconnect), which shows as a gap in the consumer's own numbers, and when it is there, has
messages and does not hand them out: each pull that brings nothing is its heartbeat, after which it is asked for its
state. A stream that was made anew, or whose first message is beyond the last one seen, is reported by `on_gap` before
following goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import nats.errors
import nats.js.errors
import structlog
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.pulling import Pull
from flotilla_common.cancellation import heed
from flotilla_common.errors import Unavailable

log = structlog.get_logger()

BATCH = 256
FETCH_TIMEOUT_SECONDS = 5.0
DOUBT_SECONDS = 0.5  # for a consumer that says it has messages to hand them out
RETRY_SECONDS = 0.25
INACTIVE_SECONDS = 60.0

OnMessage = Callable[[Msg], Awaitable[None]]
OnGap = Callable[[], Awaitable[None]]


class Follower:
    """Follows `subjects` of a stream. `caught_up` is set once everything stored at the start has been handled.

    `start`: "all" = every message, "last" = the newest of each subject first (buckets), "new" = only what comes.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        subjects: list[str],
        on_message: OnMessage,
        *,
        start: str = "last",
        on_gap: OnGap | None = None,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._subjects = subjects
        self._on_message = on_message
        self._on_gap = on_gap
        self._policy = {"all": DeliverPolicy.ALL, "last": DeliverPolicy.LAST_PER_SUBJECT, "new": DeliverPolicy.NEW}[
            start
        ]
        self._created: datetime | None = None
        self._last_sequence = 0
        self._delivered = 0  # messages of the present consumer that reached us
        self._is_in_doubt = False  # the present consumer had messages a moment ago, and a pull brought none
        self._heard_at = time.monotonic()
        self.caught_up = asyncio.Event()

    @property
    def silence_seconds(self) -> float:
        """How long it has not been known that everything sent so far is here; some seconds while all is well."""
        return time.monotonic() - self._heard_at

    async def run(self) -> None:
        """Follow for ever (cancel to stop)."""
        while True:
            try:
                async with await self._bind() as pull:
                    while True:
                        if await self._take(pull):
                            self._heard_at = time.monotonic()
            except outage.kinds(nats.js.errors.Error, nats.errors.Error) as error:
                heed()
                log.warning("follower waits for the bus", stream=self._stream, error=repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, pull: Pull) -> bool:
        """Handle what comes next. Return whether that was all: nothing sent until now is still on its way."""
        messages = await pull.take(BATCH, DOUBT_SECONDS if self._is_in_doubt else FETCH_TIMEOUT_SECONDS)
        if not messages:
            return await self._is_idle()
        heed()
        self._is_in_doubt = False
        for message in messages:
            place = message.metadata
            self._delivered += 1
            if place.sequence.consumer != self._delivered:
                raise Unavailable("a message was lost on the way")
            await self._on_message(message)
            self._last_sequence = place.sequence.stream
            if place.num_pending == 0:
                self.caught_up.set()
        return place.num_pending == 0

    async def _is_idle(self) -> bool:
        """Ask the consumer whether it has nothing for us.

        Raises:
            nats.js.errors.NotFoundError: it is gone.
            Unavailable: what it has does not come.

        """
        info = await self._bus.js.consumer_info(self._stream, self._name)
        heed()
        if info.delivered is not None and info.delivered.consumer_seq != self._delivered:
            raise Unavailable("a message was lost on the way")
        if self._is_in_doubt and info.num_pending:
            raise Unavailable("the consumer hands out nothing")
        self._is_in_doubt = bool(info.num_pending)  # one that came just now is no reason for it
        return not self._is_in_doubt

    async def _bind(self) -> Pull:
        info = await self._bus.js.stream_info(self._stream)
        is_first = self._created is None
        if not is_first and await self._has_gap(info):
            self._last_sequence, is_first = 0, True
            if self._on_gap is not None:
                await self._on_gap()
        self._created = _created(info)
        only_new = self._policy is DeliverPolicy.NEW
        if only_new and is_first:
            self._last_sequence = info.state.last_seq
        resumes = only_new or self._last_sequence > 0
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            filter_subjects=self._subjects,
            inactive_threshold=INACTIVE_SECONDS,
            mem_storage=True,
            num_replicas=1,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if resumes else self._policy,
            opt_start_seq=self._last_sequence + 1 if resumes else None,
        )
        consumer = await self._bus.js.add_consumer(self._stream, config)
        self._name = consumer.name
        self._delivered, self._is_in_doubt = 0, False
        if not consumer.num_pending:
            self._heard_at = time.monotonic()
            self.caught_up.set()
        return Pull(self._bus, self._stream, consumer.name)

    async def _has_gap(self, info: Any) -> bool:
        made_anew = _created(info) != self._created or info.state.last_seq < self._last_sequence
        # A bucket keeps only the newest of each subject, so a high first sequence there is no gap.
        lost = self._policy is not DeliverPolicy.LAST_PER_SUBJECT and info.state.first_seq > self._last_sequence + 1
        return made_anew or lost


def _created(info: Any) -> datetime | None:
    created: datetime | None = getattr(info, "created", None)
    return created
