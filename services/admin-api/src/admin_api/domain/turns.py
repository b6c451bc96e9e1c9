"""Turns: work of which a crowd may come at once, and that is not to keep others from theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flotilla_common.errors import Unavailable


class Turns:
    """One goes on at a time, in the order of coming; after `seconds` of it the next one does not wait any more.

    So a slow one holds up the others for a moment only, and none of those who wait holds a connection to Postgres.
    """

    def __init__(self, seconds: float, most_waiting: int) -> None:
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._waiting = 0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it while the block runs.

        Raises:
            Unavailable: too many wait.

        """
        await self._wait()
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._lock.release()

        timer = asyncio.get_running_loop().call_later(self._seconds, end)
        try:
            yield
        finally:
            timer.cancel()
            end()

    async def _wait(self) -> None:
        if self._waiting >= self._most_waiting:
            raise Unavailable("too many live queries are being started now")
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
