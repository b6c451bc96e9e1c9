"""How long a host is kept waiting: osqueryd gives up 16 s after it began to connect, and sends everything again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_common.errors import Unavailable

BODY_SECONDS = 20.0  # for a body: who is slower has given up and sends it again
TURN_SECONDS = 3.0  # for a large gzip body's turn
RESOLVE_SECONDS = 4.0  # for the host's key
PLAN_SECONDS = 8.0  # for a config that is not here
HAND_OVER_SECONDS = 9.0  # for all acks of one POST; the first and this one leave 3 s for connection and body


@asynccontextmanager
async def patience(seconds: float, what: str) -> AsyncIterator[None]:
    """Wait for `what` within, but no longer than this.

    Raises:
        Unavailable: it took longer.

    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unavailable(f"{what} took more than {seconds:.0f} s") from None
