"""Durable pull consumers. Handlers never ack or nak: every message is settled in one place, here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import nats.js.errors
import structlog
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from opentelemetry import trace
from pydantic import ValidationError

from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.pulling import Pull
from flotilla_common.cancellation import heed
from flotilla_common.contracts.base import Event
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES, STREAMS, StreamSpec
from flotilla_common.errors import Poison
from flotilla_common.telemetry import context_from

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=Event)
D = TypeVar("D")

FETCH_TIMEOUT_SECONDS = 5.0
OUTAGE_DELAY_SECONDS = 2.0
BATCH_BYTES = 4 * MAX_PAYLOAD_BYTES
RETRIES = 5
RETRY_DELAY_SECONDS = 1.0
BURIALS_IN_A_ROW = 20
DEAD_PART_BYTES = MAX_PAYLOAD_BYTES // 2


class TooManyBurials(Exception):
    """A bad release must not drain a stream: the consumer stops, the process fails its readiness."""


@dataclass(frozen=True)
class Subscription(Generic[T, D]):
    """What a durable consumer hears and who handles it.

    `handle` gets up to `batch` decoded messages at once, of `batch_bytes` together, and must be idempotent for each of
    them. When it fails for a batch of several, each is tried alone, so that one bad message harms no other. What a
    killed process had in hand comes again after `ack_wait_seconds`; a handler may take longer than that.

    With `gather_seconds` a batch begins so long after the one before it, or later: what comes one by one is handled
    together, at the price of one batch. The first message after a pause does not wait, nor does a backlog.
    """

    stream: str
    subject: str
    durable: str
    decode: Callable[[Msg], T]
    handle: Callable[[list[T], D], Awaitable[None]]
    batch: int = 1
    batch_bytes: int = BATCH_BYTES
    ack_wait_seconds: float = 10.0
    gather_seconds: float = 0.0


def event_subscription(event: type[E], durable: str, handle: Callable[[E, D], Awaitable[None]]) -> Subscription[E, D]:
    """Return the subscription of one event class, handled one by one."""

    async def handle_one(events: list[E], deps: D) -> None:
        for item in events:
            await handle(item, deps)

    def decode(message: Msg) -> E:
        return event.model_validate_json(message.data)

    return Subscription(stream_of(event.subject).name, event.subject, durable, decode, handle_one)


def stream_of(subject: str) -> StreamSpec:
    """Return the stream that keeps a subject."""
    for spec in STREAMS:
        if any(subject == own or (own.endswith(">") and subject.startswith(own[:-1])) for own in spec.subjects):
            return spec
    message = f"no stream keeps {subject}"
    raise LookupError(message)


async def consume(bus: Bus, subscription: Subscription[T, D], deps: D, *, ready: asyncio.Event | None = None) -> None:
    """Consume for ever (cancel to stop), through any outage of NATS. `ready` is set once the consumer exists.

    Returns when BURIALS_IN_A_ROW messages in a row had to be buried. The process is not ready from then on (`bus.check`
    says why), but lives and does its other work: a restart would only bury the next ones.
    """
    settler = _Settler(bus, subscription, deps)
    while True:
        try:
            await _bind(bus, subscription)
            async with _pull(bus, subscription) as pull:
                if ready is not None:
                    ready.set()
                while True:
                    messages = await pull.take(subscription.batch, FETCH_TIMEOUT_SECONDS)
                    heed()
                    began = time.monotonic()
                    await settler.settle_all(messages)
                    if messages and not messages[-1].metadata.num_pending:
                        await asyncio.sleep(began + subscription.gather_seconds - time.monotonic())
        except TooManyBurials as error:
            log.critical("consumer stopped for good", durable=subscription.durable, error=str(error))
            bus.stopped_consumers[subscription.durable] = str(error)
            return
        except outage.kinds(nats.js.errors.Error, nats.errors.Error) as error:
            heed()
            log.warning("consumer waits for the bus", durable=subscription.durable, error=repr(error))
            await asyncio.sleep(OUTAGE_DELAY_SECONDS / 4)


def _pull(bus: Bus, subscription: Subscription[T, D]) -> Pull:
    return Pull(
        bus,
        subscription.stream,
        subscription.durable,
        ack_wait_seconds=subscription.ack_wait_seconds,
        most_bytes=subscription.batch_bytes,
    )


async def _bind(bus: Bus, subscription: Subscription[T, D]) -> None:
    config = ConsumerConfig(
        durable_name=subscription.durable,
        filter_subject=subscription.subject,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=subscription.ack_wait_seconds,
        max_ack_pending=_most_waiting(subscription),
        max_deliver=-1,
    )
    await bus.js.add_consumer(subscription.stream, config)


def _most_waiting(subscription: Subscription[T, D]) -> int:
    return max(1000, subscription.batch * 4)


class _Settler(Generic[T, D]):
    """Settles the messages of one consumer and remembers what failed."""

    def __init__(self, bus: Bus, sub: Subscription[T, D], deps: D) -> None:
        self._bus = bus
        self._sub = sub
        self._deps = deps
        self._bugs: dict[int, int] = {}
        """How often a message ended in a bug here, by stream sequence. The server's own count of deliveries has the
        outages in it, too, and what a killed process did not settle: it says nothing against the message."""
        self._buried = 0  # in a row: nothing was handled between them

    async def settle_all(self, messages: list[Msg]) -> None:
        """Settle a batch.

        Raises:
            TooManyBurials: messages are left unsettled, the server delivers them again.

        """
        if len(messages) > 1 and await self._settled_at_once(messages):
            return
        for message in messages:
            await self._settle(message)

    async def _settled_at_once(self, messages: list[Msg]) -> bool:
        sub = self._sub
        try:
            await self._handle([sub.decode(message) for message in messages], messages[0])
        except outage.kinds() as error:  # one by one they would wait for the same part, each of them
            log.warning("a part is down, messages wait", durable=sub.durable, messages=len(messages), error=repr(error))
            await asyncio.gather(*(message.nak(delay=OUTAGE_DELAY_SECONDS) for message in messages))
        except Exception as error:  # noqa: BLE001 - each is tried alone, where kinds are told apart
            log.info("batch failed, trying one by one", durable=sub.durable, error=repr(error))
            return False
        else:
            await asyncio.gather(*(self._ack(message) for message in messages))
        return True

    async def _settle(self, message: Msg) -> None:
        try:
            await self._handle([self._sub.decode(message)], message)
        except (Poison, ValidationError) as error:  # no retry can help
            await self._bury(message, error)
        except outage.kinds() as error:  # the message is innocent: wait, never bury
            log.warning("a part is down, message waits", durable=self._sub.durable, error=repr(error))
            await message.nak(delay=OUTAGE_DELAY_SECONDS)
        except Exception as error:  # a bug, or a poison that nobody has named yet
            log.exception("message failed", durable=self._sub.durable, sequence=message.metadata.sequence.stream)
            await self._retry_or_bury(message, error)
        else:
            await self._ack(message)

    async def _handle(self, items: list[T], first: Msg) -> None:
        with tracer.start_as_current_span(f"consume {self._sub.subject}", context=context_from(first.headers)):
            await self._sub.handle(items, self._deps)

    async def _ack(self, message: Msg) -> None:
        self._buried = 0
        self._forget(message)
        await message.ack()

    async def _retry_or_bury(self, message: Msg, error: Exception) -> None:
        sequence = message.metadata.sequence.stream
        attempts = self._bugs.pop(sequence, 0) + 1
        self._bugs[sequence] = attempts
        if len(self._bugs) > _most_waiting(self._sub):  # another process settled what failed here first
            del self._bugs[next(iter(self._bugs))]
        if attempts >= RETRIES:
            await self._bury(message, error)
        else:
            await message.nak(delay=RETRY_DELAY_SECONDS * attempts)

    async def _bury(self, message: Msg, error: Exception) -> None:
        if not await bury(self._bus, self._sub.stream, self._sub.durable, message, error):
            return
        self._forget(message)
        self._buried += 1
        if self._buried >= BURIALS_IN_A_ROW:
            raise TooManyBurials(
                f"{self._sub.durable}: {self._buried} messages in a row were buried, the last for {_reason(error)}"
            )

    def _forget(self, message: Msg) -> None:
        if self._bugs:
            self._bugs.pop(message.metadata.sequence.stream, None)


async def bury(bus: Bus, stream: str, durable: str, message: Msg, error: BaseException) -> bool:
    """Copy a message to stream DEAD with the reason, then end its delivery; return whether that was done.

    A full DEAD means wait, not loss. A message that does not fit with the headers is cut in parts.
    """
    sequence = str(message.metadata.sequence.stream)
    parts = [message.data[at : at + DEAD_PART_BYTES] for at in range(0, len(message.data), DEAD_PART_BYTES)] or [b""]
    for number, part in enumerate(parts, 1):
        headers = {
            "Reason": _reason(error),
            "Consumer": durable,
            "Original-Subject": message.subject,
            "Original-Sequence": sequence,
            "Nats-Msg-Id": f"{stream}-{durable}-{sequence}-{number}",
        }
        if len(parts) > 1:
            headers["Part"] = f"{number}/{len(parts)}"
        try:
            await bus.js.publish(f"dead.{stream}", part, headers=headers)
        except outage.kinds(nats.js.errors.Error) as full:
            log.warning("stream DEAD does not take the message, it waits", durable=durable, error=repr(full))
            await message.nak(delay=OUTAGE_DELAY_SECONDS)
            return False
    log.error("message buried", durable=durable, sequence=sequence, reason=_reason(error))
    await message.term()
    return True


def _reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return "".join(character if character.isprintable() else " " for character in text)[:500]
