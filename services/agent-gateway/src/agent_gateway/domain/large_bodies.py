"""Work on large bodies beside the event loop, one at a time: polls go on, and what a body becomes is held once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

INLINE_LIMIT = 512 * 1024  # bytes; less than this is done before a thread would have begun


class LargeBodies:
    """The one thread that large bodies share."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large bodies")

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Return what `work` makes of a body of so many bytes. It must touch nothing that the event loop touches.

        The work of a caller that is cancelled is not begun, or comes to its end before the next one's begins.
        """
        if size <= INLINE_LIMIT:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
