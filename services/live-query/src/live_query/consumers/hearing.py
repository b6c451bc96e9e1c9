"""Core events: each reaches one process of this service, losing some does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.hearing import hear
from flotilla_common.contracts.base import Event
from nats.aio.msg import Msg
from pydantic import ValidationError

from live_query.deps import Deps

log = structlog.get_logger()

E = TypeVar("E", bound=Event)


async def listen(
    event: type[E], handle: Callable[[E, Deps], Awaitable[None]], deps: Deps, *, ready: asyncio.Event
) -> None:
    """Listen for ever. What makes no sense, or comes while a part is down, is lost."""

    async def on_message(message: Msg) -> None:
        try:
            await handle(event.model_validate_json(message.data), deps)
        except outage.kinds(ValidationError, ValueError) as error:
            log.warning("event lost", subject=message.subject, error=repr(error))

    await hear(deps.bus, event.subject, on_message, ready=ready)
