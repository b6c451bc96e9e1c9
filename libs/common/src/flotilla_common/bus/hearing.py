"""Hear core subjects: each message reaches one process of a service, and losing some does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from flotilla_common.bus.connection import Bus


async def hear(
    bus: Bus, subject: str, on_message: Callable[[Msg], Awaitable[None]], *, ready: asyncio.Event | None = None
) -> None:
    """Hear for ever (cancel to stop). `ready` is set once messages reach this process."""
    subscription = await bus.client.subscribe(subject, queue=bus.name, cb=on_message)
    await bus.settle()
    if ready is not None:
        ready.set()
    try:
        await asyncio.Event().wait()
    finally:
        if bus.client.is_connected:
            await subscription.unsubscribe()
