"""An idempotent producer of aiokafka: made with reasons for people, and closed whatever the brokers do.

Some of this reaches into the library, whose version is bounded for that (0.14): it offers no way to give lines up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from typing import TYPE_CHECKING, Any

from log_shipper.errors import DestinationDown

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from log_shipper.sinks.kafka import Settings

RECORD_BATCH_BYTES = 256 * 1024  # uncompressed
REQUEST_SECONDS = 10.0  # for one answer of a broker
START_SECONDS = 10.0
METADATA_SECONDS = 5.0
CLOSE_SECONDS = 3.0
WORDS = 300
SAME_WORDS_SECONDS = 10.0
LOGGERS = ("aiokafka", "aiokafka.conn", "aiokafka.producer.sender")


async def open_producer(settings: Settings) -> AIOKafkaProducer:
    """Connect. Raises DestinationDown, with the reason."""
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - heavy
    from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError  # noqa: PLC0415 - heavy

    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FEW)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.brokers.split(","),
        client_id="flotilla-log-shipper",
        acks="all",
        enable_idempotence=True,
        compression_type=None if settings.compression == "none" else settings.compression,
        max_batch_size=min(RECORD_BATCH_BYTES, settings.max_message_bytes),
        request_timeout_ms=int(min(REQUEST_SECONDS, settings.delivery_seconds) * 1000),
        **_security(settings),
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            await producer.start()
    except BaseException as error:
        await close_producer(producer)
        if isinstance(error, ClusterAuthorizationFailedError):
            raise DestinationDown("this user may not write (IdempotentWrite on the cluster)") from error
        if isinstance(error, TimeoutError):
            raise DestinationDown(f"brokers {settings.brokers}: none answered in time"[:WORDS]) from error
        if isinstance(error, KafkaError | OSError):
            why = await _why(settings) or str(error)
            raise DestinationDown(f"brokers {settings.brokers}: {why}"[:WORDS]) from error
        raise
    return producer


def _security(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        found["ssl_context"] = ssl.create_default_context(cadata=settings.ca_certificate or None)
    if settings.security_protocol.startswith("SASL"):
        found |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
        }
    return found


async def _why(settings: Settings) -> str:
    """Return why the first broker cannot be used: the library only logs that. Empty: it can be used now."""
    from aiokafka.conn import create_conn  # noqa: PLC0415 - heavy
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - heavy

    host, _, port = settings.brokers.split(",")[0].rpartition(":")
    try:
        async with asyncio.timeout(METADATA_SECONDS):
            (await create_conn(host.strip("[]"), int(port), **_security(settings))).close()
    except (KafkaError, OSError, TimeoutError) as error:
        return str(error) or type(error).__name__
    return ""


async def close_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer in any state.

    `stop` alone waits for lines that no broker takes, for ever (aiokafka's issue 1101). So what is under way is given
    up first, the sender before its lines: whoever waited for them has noted that nobody knows.
    """
    sender = producer._sender.sender_task
    for _ in range(2):  # told once it waits for answers that are due, told again it does not
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=CLOSE_SECONDS)
    _give_up(producer)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await producer.stop()


def _give_up(producer: AIOKafkaProducer) -> None:
    """Fail all that a producer still holds, so that nothing waits, and no error counts as lost."""
    from aiokafka.errors import ProducerClosed  # noqa: PLC0415 - heavy

    held = producer._message_accumulator
    waiting = [batch for batches in held._batches.values() for batch in batches]
    for batch in waiting:
        batch._drain_waiter.cancel()
    held._pending_batches.update(waiting)  # where the callback of one that was tried already looks for it
    every = list(held._pending_batches)
    held.fail_all(ProducerClosed())
    for batch in every:
        batch.future.exception()


class _Few(logging.Filter):
    """Lets a text by once in a while: the library says the same many times a second while brokers are away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written."""
        now, text = time.monotonic(), str(record.msg)
        if text in self._said and now < self._said[text] + SAME_WORDS_SECONDS:
            return False
        self._said[text] = now
        return True


_FEW = _Few()
