"""Work on large bodies beside the event loop, one at a time: polls go on, and what a body becomes is held once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INLINE_LIMIT = 512 * 1024  # bytes; less than this is done before a thread would have begun


class LargeBodies:
    """The one thread that large bodies share."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Return what `work` makes of a body of so many bytes. It must touch nothing that the event loop touches."""
        if size <= INLINE_LIMIT:
            return work()
        async with self._turn:
            return await asyncio.to_thread(work)
