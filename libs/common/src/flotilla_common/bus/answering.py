"""Answer requests: one queue group per service, one transaction per request, errors turned into their kinds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from nats.aio.msg import Msg
from opentelemetry import trace
from pydantic import ValidationError

from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.base import Answer, Request
from flotilla_common.errors import FleetError, Invalid, NotNow, Unavailable, kind_of
from flotilla_common.telemetry import context_from

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)

R = TypeVar("R", bound=Request[Any])
D = TypeVar("D")

WAITING_LIMIT = 1024  # requests of a kind in this process; more wait where nobody knows since when


@dataclass(frozen=True)
class Responder(Generic[R, D]):
    """A request class and the handler that answers it; `concurrency` bounds how many run at once.

    `add_wait` puts into a request the seconds that it waited here for its turn.
    """

    request: type[R]
    handle: Callable[[R, D], Awaitable[Answer]]
    concurrency: int = 16
    add_wait: Callable[[R, float], R] | None = None


async def respond(bus: Bus, responder: Responder[R, D], deps: D, *, ready: asyncio.Event | None = None) -> None:
    """Answer for ever (cancel to stop). `ready` is set once requests reach this process.

    Returns when the bus is closed by ourselves.

    Raises:
        BusClosed: the server has ended the subscription for good.

    """
    subscription = await bus.client.subscribe(responder.request.subject, queue=bus.name)
    await bus.settle()
    if ready is not None:
        ready.set()
    slots, waiting = asyncio.Semaphore(responder.concurrency), asyncio.Semaphore(WAITING_LIMIT)
    try:
        async with asyncio.TaskGroup() as tasks:
            async for message in subscription.messages:
                task = tasks.create_task(_in_turn(responder, message, deps, slots))
                task.add_done_callback(lambda _: waiting.release())
                await waiting.acquire()
        bus.check_closed()
    finally:
        if bus.client.is_connected:
            await subscription.unsubscribe()


async def _in_turn(responder: Responder[R, D], message: Msg, deps: D, slots: asyncio.Semaphore) -> None:
    came_at = time.monotonic()
    async with slots:
        await _answer(responder, message, deps, time.monotonic() - came_at)


async def _answer(responder: Responder[R, D], message: Msg, deps: D, waited: float) -> None:
    with tracer.start_as_current_span(responder.request.subject, context=context_from(message.headers)):
        body = await _body(responder, message, deps, waited)
    try:
        await message.respond(body)
    except outage.kinds() as error:
        log.warning("answer could not be sent", subject=message.subject, error=repr(error))


async def _body(responder: Responder[R, D], message: Msg, deps: D, waited: float) -> bytes:
    try:
        request = responder.request.model_validate_json(message.data)
        if responder.add_wait is not None:
            request = responder.add_wait(request, waited)
        answer = await responder.handle(request, deps)
    except FleetError as error:
        return _refusal(error)
    except ValidationError as error:
        return _refusal(Invalid(f"{error.error_count()} members are missing or wrong"))
    except outage.kinds() as error:
        if outage.is_contention(error):
            log.warning("a request met another one", subject=message.subject, error=repr(error))
            return _refusal(NotNow(f"{type(error).__name__} in {responder.request.subject}"))
        log.warning("a part is down", subject=message.subject, error=repr(error))
        return _refusal(Unavailable(f"{type(error).__name__} in {responder.request.subject}"))
    except Exception as error:  # the last resort of requests, as in HTTP: the caller must get an answer
        log.exception("request failed", subject=message.subject)
        return _refusal(NotNow(f"internal error: {type(error).__name__}"))
    return b'{"ok":' + answer.model_dump_json().encode() + b"}"


def _refusal(error: FleetError) -> bytes:
    return msgspec.json.encode({"error": {"kind": kind_of(error), "code": error.code, "message": str(error)}})
