"""One connection to NATS per process, with a private inbox prefix and typed calls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import nats
import structlog
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.client import JetStreamContext
from pydantic import ValidationError

from flotilla_common.bus import outage
from flotilla_common.cancellation import heed
from flotilla_common.contracts.base import Answer, Event, Request
from flotilla_common.errors import Unanswered, Unavailable, error_from
from flotilla_common.settings import CommonSettings
from flotilla_common.telemetry import trace_headers

log = structlog.get_logger()

A = TypeVar("A", bound=Answer)

PUBLISH_TIMEOUT_SECONDS = 5.0
HEARTBEAT_SECONDS = 5.0
CLOSED_LOOK_SECONDS = 5.0
CLOSE_SECONDS = 2.0
CONNECT_SECONDS = 10.0
SETTLE_SECONDS = 10.0
LOST_SECONDS = 120  # a PONG that is not here by then comes no more: nats-py gives a silent connection up after 30 s
INBOX_PREFIX = "_INBOX"
FOR_EVER: dict[str, Any] = {
    "allow_reconnect": True,
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 0.25,
    "connect_timeout": 2,
    "ping_interval": 10,
    "max_outstanding_pings": 2,
    "pending_size": 64 * 1024 * 1024,
}
"""How nats-py keeps a connection (seconds, bytes): it never gives up, and notices a dead server in half a minute."""


class BusClosed(Exception):
    """The connection is closed for good: the process cannot do its work any more and must be started again."""


class Bus:
    """The process's connection: events, requests, and when the bus was last heard."""

    def __init__(
        self,
        client: Client,
        name: str,
        on_reconnect: set[Callable[[], None]] | None = None,
        closed: asyncio.Event | None = None,
    ) -> None:
        self.on_reconnect = set() if on_reconnect is None else on_reconnect
        """Called after each reconnection."""
        self.stopped_consumers: dict[str, str] = {}
        """Durable -> why it was stopped for good; written by `consume`."""
        self._closed = asyncio.Event() if closed is None else closed
        self._is_ours_to_close = False
        self.client = client
        self.name = name
        self.js: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_SECONDS)
        self.last_heard = time.monotonic()
        self._round_trips: set[asyncio.Task[None]] = set()

    async def publish(self, event: Event) -> None:
        """Publish to the event's stream and wait for the ack; `event_id` makes a repeat harmless."""
        headers = {"Nats-Msg-Id": str(event.event_id), **trace_headers()}
        try:
            await self.js.publish(
                event.subject, event.model_dump_json().encode(), timeout=PUBLISH_TIMEOUT_SECONDS, headers=headers
            )
        except outage.kinds() as error:
            raise Unavailable(f"bus: {error!r}") from error

    async def send(self, event: Event) -> None:
        """Send over core NATS: fire and forget, for events whose loss does no harm. Without a connection it is lost."""
        if not self.client.is_connected:
            return
        try:
            await self.client.publish(event.subject, event.model_dump_json().encode(), headers=trace_headers() or None)
        except outage.kinds(nats.errors.Error) as error:
            log.warning("event lost", subject=event.subject, error=repr(error))

    async def request(self, request: Request[A]) -> A:
        """Ask the owner and return its answer.

        Raises:
            Unavailable: nobody is there to answer.
            Unanswered: nobody answered in the request's time; it may have been done all the same.
            FleetError: what the owner raised, as its own class where this process knows it, else as its kind.

        """
        try:
            reply = await self.client.request(
                request.subject,
                request.model_dump_json().encode(),
                timeout=request.timeout_seconds,
                headers=trace_headers() or None,
            )
        except NoRespondersError as error:
            service = request.subject.partition(".")[0].replace("_", "-")
            raise Unavailable(f"{service} does not answer; is it running? ({request.subject})") from error
        except outage.kinds() as error:
            raise Unanswered(f"{request.subject}: {type(error).__name__}") from error
        return _read(request, reply.data)

    async def settle(self) -> None:
        """Return once the server has heard all that was said before: subscriptions stand, messages are on their way.

        nats-py (2.16) writes the PING of a flush ahead of what waits to be written, which goes out before the PONG is
        read. The second PING is behind all of it.
        """
        await self._round_trip(SETTLE_SECONDS)
        await self._round_trip(SETTLE_SECONDS)

    async def _round_trip(self, seconds: float) -> None:
        """Send a PING and wait so long for its PONG; by then all that the server sent before it is here.

        The waiting for one that comes later goes on: the reader of nats-py (2.16) ends without a word over a PONG that
        nobody waits for any more, and the connection is deaf until it is given up.

        Raises:
            TimeoutError: no PONG in time.

        """
        flushing = asyncio.create_task(self.client.flush(timeout=LOST_SECONDS))
        self._round_trips.add(flushing)
        flushing.add_done_callback(self._has_ended)
        done, _ = await asyncio.wait([flushing], timeout=seconds)
        if not done:
            raise TimeoutError
        flushing.result()

    def _has_ended(self, flushing: asyncio.Task[None]) -> None:
        """Forget a round trip, and retrieve its exception even if nobody waits for it any more."""
        self._round_trips.discard(flushing)
        if not flushing.cancelled():
            flushing.exception()

    @property
    def silence_seconds(self) -> float:
        """How long the bus has not been heard."""
        return time.monotonic() - self.last_heard

    async def heartbeat(self) -> None:
        """Keep `last_heard` true: a round trip every HEARTBEAT_SECONDS. Runs for ever, as a task of its own."""
        while True:
            try:
                await self._round_trip(HEARTBEAT_SECONDS)
                self._check_it_is_read()
                self.last_heard = time.monotonic()
            except outage.kinds() as error:
                log.warning("bus is silent", error=repr(error), seconds=round(self.silence_seconds, 1))
            heed()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _check_it_is_read(self) -> None:
        """Refuse to believe a round trip: without its reader nats-py (2.16) makes none, and returns as if it had.

        Raises:
            Unavailable: nobody reads what comes.

        """
        reading = self.client._reading_task
        if reading is None or reading.done():
            raise Unavailable("the connection is not read")

    async def until_closed(self) -> None:
        """Wait until `close` was called, as a task of its own: see `service.live_with`.

        nats-py reconnects after a lost connection, but gives up for good when the server says `-ERR` (the user's
        password was changed, its permissions taken away). Subscriptions then end without a word.

        Raises:
            BusClosed: nats-py gave up.

        """
        while not self.client.is_closed:
            with contextlib.suppress(TimeoutError):  # an error while it closes keeps nats-py from saying that it has
                async with asyncio.timeout(CLOSED_LOOK_SECONDS):
                    await self._closed.wait()
            heed()
        self.check_closed()

    def check_closed(self) -> None:
        """Raise when the connection is closed for good, unless we have closed it ourselves.

        Raises:
            BusClosed: with what the server said last.

        """
        if self.client.is_closed and not self._is_ours_to_close:
            raise BusClosed(f"NATS closed the connection of user {self.name} for good: {self.client.last_error!r}")

    async def check(self) -> str | None:
        """Readiness: is there a connection, and does every consumer work?."""
        if not self.client.is_connected:
            return "not connected to NATS"
        return "; ".join(self.stopped_consumers.values()) or None

    async def close(self) -> None:
        """Send what is buffered and close. What was received and not handled is left: its handlers have ended."""
        self._is_ours_to_close = True
        try:
            if self.client.is_connected:
                await self._round_trip(CLOSE_SECONDS)
        except outage.kinds() as error:
            log.warning("bus closes without a last word", error=repr(error))
        try:
            await self.client.close()
        except outage.kinds(RuntimeError) as error:  # RuntimeError: uvloop's word for writing where all is closed
            log.warning("bus was cut while it closed", error=repr(error))
        for flushing in tuple(self._round_trips):
            flushing.cancel()


def _read(request: Request[A], data: bytes) -> A:
    try:
        envelope: dict[str, Any] = msgspec.json.decode(data)
        if "error" in envelope:
            error = envelope["error"]
            raise error_from(error["kind"], error["code"], error["message"])
        return request.answer.model_validate(envelope["ok"])  # type: ignore[return-value]
    except (msgspec.DecodeError, KeyError, TypeError, ValidationError) as error:
        raise Unavailable(f"{request.subject}: the answer makes no sense") from error


async def connect(settings: CommonSettings, *, name: str | None = None) -> Bus:
    """Connect and keep reconnecting for ever.

    Raises:
        Unavailable: the first connection could not be made within 10 s.

    """
    user = settings.nats_user
    on_reconnect: set[Callable[[], None]] = set()
    closed = asyncio.Event()

    async def note_closed() -> None:
        closed.set()

    async def reconnected() -> None:
        log.info("bus reconnected")
        for call in tuple(on_reconnect):
            call()

    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            client = await nats.connect(
                servers=[url.strip() for url in settings.nats_url.split(",")],
                user=user,
                password=settings.nats_password.get_secret_value(),
                name=name or user,
                inbox_prefix=f"{INBOX_PREFIX}.{user}".encode(),
                error_cb=_on_error,
                disconnected_cb=_on_disconnected,
                reconnected_cb=reconnected,
                closed_cb=note_closed,
                **FOR_EVER,
            )
    except outage.kinds() as error:
        raise Unavailable(f"cannot connect to NATS at {settings.nats_url} as {user}: {error!r}") from error
    return Bus(client, user, on_reconnect, closed)


async def _on_error(error: Exception) -> None:
    log.warning("bus error", error=repr(error))


async def _on_disconnected() -> None:
    log.warning("bus disconnected")
