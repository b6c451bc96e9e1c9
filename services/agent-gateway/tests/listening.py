"""Whether a listener that a test started is there."""

from __future__ import annotations

import asyncio


async def is_listening(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
