"""Durable pull consumers. Handlers never ack or nak: every message is settled in one place, here."""

from __future__ import annotations

import asyncio
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
from flotilla_common.contracts.streams import STREAMS, StreamSpec
from flotilla_common.errors import Poison
from flotilla_common.telemetry import context_from

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)

T = TypeVar("T")
E = TypeVar("E", bound=Event)
D = TypeVar("D")

FETCH_TIMEOUT_SECONDS = 5.0
OUTAGE_DELAY_SECONDS = 2.0
RETRIES = 5
RETRY_DELAY_SECONDS = 1.0
BURIALS_IN_A_ROW = 20


class TooManyBurials(Exception):
    """A bad release must not drain a stream: the consumer stops, the process fails its health."""


@dataclass(frozen=True)
class Subscription(Generic[T, D]):
    """What a durable consumer hears and who handles it.

    `handle` gets up to `batch` decoded messages at once and must be idempotent for each of them. When it fails for a
    batch of several, each is tried alone, so that one bad message harms no other.
    """

    stream: str
    subject: str
    durable: str
    decode: Callable[[Msg], T]
    handle: Callable[[list[T], D], Awaitable[None]]
    batch: int = 1
    ack_wait_seconds: float = 30.0


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

    Raises:
        TooManyBurials: BURIALS_IN_A_ROW messages in a row could not be handled.

    """
    while True:
        try:
            await _bind(bus, subscription)
            async with Pull(bus, subscription.stream, subscription.durable) as pull:
                if ready is not None:
                    ready.set()
                await _pull(bus, subscription, pull, deps)
        except outage.kinds(nats.js.errors.Error, nats.errors.Error) as error:
            heed()
            log.warning("consumer waits for the bus", durable=subscription.durable, error=repr(error))
            await asyncio.sleep(OUTAGE_DELAY_SECONDS / 4)


async def _pull(bus: Bus, subscription: Subscription[T, D], pull: Pull, deps: D) -> None:
    burials = 0
    while True:
        messages = await pull.take(subscription.batch, FETCH_TIMEOUT_SECONDS)
        heed()
        if messages:
            buried = await _settle_all(bus, subscription, messages, deps)
            burials = burials + buried if buried == len(messages) else 0
        if burials >= BURIALS_IN_A_ROW:
            raise TooManyBurials(subscription.durable)


async def _bind(bus: Bus, subscription: Subscription[T, D]) -> None:
    config = ConsumerConfig(
        durable_name=subscription.durable,
        filter_subject=subscription.subject,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=subscription.ack_wait_seconds,
        max_ack_pending=max(1000, subscription.batch * 4),
        max_deliver=-1,
    )
    await bus.js.add_consumer(subscription.stream, config)


async def _settle_all(bus: Bus, sub: Subscription[T, D], messages: list[Msg], deps: D) -> int:
    """Settle a batch; return how many were buried."""
    if len(messages) > 1:
        try:
            await _handle(sub, [sub.decode(message) for message in messages], messages[0], deps)
        except outage.kinds() as error:  # one by one they would wait for the same part, each of them
            log.warning("a part is down, messages wait", durable=sub.durable, messages=len(messages), error=repr(error))
            await asyncio.gather(*(message.nak(delay=OUTAGE_DELAY_SECONDS) for message in messages))
            return 0
        except Exception as error:  # noqa: BLE001 - each is tried alone below, where kinds are told apart
            log.info("batch failed, trying one by one", durable=sub.durable, error=repr(error))
        else:
            await asyncio.gather(*(message.ack() for message in messages))
            return 0
    return sum([await _settle(bus, sub, message, deps) for message in messages])


async def _settle(bus: Bus, sub: Subscription[T, D], message: Msg, deps: D) -> bool:
    """Handle one message and settle it; True when it was buried."""
    try:
        await _handle(sub, [sub.decode(message)], message, deps)
    except (Poison, ValidationError) as error:  # no retry can help
        await bury(bus, sub.stream, message, error)
        return True
    except outage.kinds() as error:  # the message is innocent: wait, never bury
        log.warning("a part is down, message waits", durable=sub.durable, error=repr(error))
        await message.nak(delay=OUTAGE_DELAY_SECONDS)
    except Exception as error:  # a bug, or a poison that nobody has named yet
        log.exception("message failed", durable=sub.durable, deliveries=message.metadata.num_delivered)
        if message.metadata.num_delivered >= RETRIES:
            await bury(bus, sub.stream, message, error)
            return True
        await message.nak(delay=RETRY_DELAY_SECONDS * message.metadata.num_delivered)
    else:
        await message.ack()
    return False


async def _handle(sub: Subscription[T, D], items: list[T], first: Msg, deps: D) -> None:
    with tracer.start_as_current_span(f"consume {sub.subject}", context=context_from(first.headers)):
        await sub.handle(items, deps)


async def bury(bus: Bus, stream: str, message: Msg, error: BaseException) -> None:
    """Copy a message to stream DEAD with the reason, then end its delivery. A full DEAD means wait, not loss."""
    headers = {
        "Reason": f"{type(error).__name__}: {error}"[:500].replace("\n", " ").replace("\r", " "),
        "Original-Subject": message.subject,
        "Original-Sequence": str(message.metadata.sequence.stream),
        "Nats-Msg-Id": f"{stream}-{message.metadata.sequence.stream}",
    }
    try:
        await bus.js.publish(f"dead.{stream}", message.data, headers=headers)
    except outage.kinds(nats.js.errors.Error) as full:
        log.warning("stream DEAD does not take the message, it waits", stream=stream, error=repr(full))
        await message.nak(delay=OUTAGE_DELAY_SECONDS)
        return
    log.error("message buried", stream=stream, sequence=headers["Original-Sequence"], reason=headers["Reason"])
    await message.term()
