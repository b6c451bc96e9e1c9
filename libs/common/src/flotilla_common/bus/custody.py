"""Publish into custody: pipelined, bounded, every ack checked, repeated under the same `Nats-Msg-Id` until it comes.

One wildcard subscription on the private inbox takes all acks, so that a publish costs one write and one future.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from typing import Any, cast

import msgspec
import nats.errors
from nats.aio.msg import Msg

from flotilla_common.bus import outage
from flotilla_common.bus.bodies import Body
from flotilla_common.bus.connection import INBOX_PREFIX, Bus
from flotilla_common.deadlines import Deadlines
from flotilla_common.errors import Refused, Unavailable

ACK_TIMEOUT_SECONDS = 2.0
ATTEMPTS = 3


class _Ack(msgspec.Struct):
    """What JetStream answers to a publish."""

    stream: str | None = None
    seq: int = 0
    error: dict[str, Any] | None = None


_decode_ack = msgspec.json.Decoder(_Ack).decode


class CustodyPublisher:
    """Publishes to file-backed streams and returns once the stream has the message.

    At most `max_in_flight` publishes wait for acks at a time; further ones queue in the caller.
    """

    def __init__(self, bus: Bus, *, max_in_flight: int = 1024) -> None:
        self._bus = bus
        self._client = bus.client
        self._prefix = f"{INBOX_PREFIX}.{bus.name}.custody.{secrets.token_hex(8)}."
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[_Ack]] = {}
        self._slots = asyncio.Semaphore(max_in_flight)
        self._ids = f"{secrets.token_hex(12)}-"
        self._ack_waits = Deadlines(lambda: ACK_TIMEOUT_SECONDS)

    async def open(self) -> None:
        """Subscribe to the acks; once, before the first publish."""
        await self._client.subscribe(self._prefix + "*", cb=self._on_ack)
        await self._bus.settle()

    async def publish(self, subject: str, body: Body, headers: dict[str, str] | None = None) -> int:
        """Publish and return the stream sequence of the message.

        Raises:
            Unavailable: no ack after all attempts: it is not in custody, as far as known.
            Refused: the stream said so; it is full, most likely.

        """
        all_headers = {"Nats-Msg-Id": f"{self._ids}{next(self._numbers)}", **(headers or {})}
        async with self._slots:
            for _ in range(ATTEMPTS):
                ack = await self._attempt(subject, body, all_headers)
                if ack is not None:
                    if ack.error is not None or ack.stream is None:
                        raise Refused(f"{subject}: {ack.error or 'no stream'}")
                    return ack.seq
        raise Unavailable(f"{subject}: no ack after {ATTEMPTS} attempts")

    async def _attempt(self, subject: str, body: Body, headers: dict[str, str]) -> _Ack | None:
        """Publish once; None when no ack came in time."""
        reply = f"{self._prefix}{next(self._numbers)}"
        future: asyncio.Future[_Ack] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = future
        try:
            if not self._client.is_connected:
                raise Unavailable("not connected to NATS")
            payload = cast("bytes", body)  # of which nats-py takes the length, and which it adds to others
            await self._client.publish(subject, payload, reply=reply, headers=headers)
            return await self._ack_waits.wait_for(future, TimeoutError)
        except TimeoutError:
            return None
        except outage.kinds(nats.errors.Error) as error:
            raise Unavailable(f"{subject}: {error!r}") from error
        finally:
            self._waiting.pop(reply, None)

    async def _on_ack(self, message: Msg) -> None:
        future = self._waiting.get(message.subject)
        if future is None or future.done():
            return
        with contextlib.suppress(msgspec.DecodeError):
            # An empty body is "no responders": nothing stored it; the time-out leads to the next attempt.
            if message.data:
                future.set_result(_decode_ack(message.data))
