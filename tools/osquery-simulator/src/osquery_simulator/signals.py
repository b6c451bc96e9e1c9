"""Waiting for something to become true, and threads that can be woken before their time."""

import asyncio
from collections.abc import Callable

from osquery_simulator.clock import Clock

PATIENCE_SECONDS = 60
"""How long a test waits before it fails; real seconds."""


class Signal:
    """Says that something has changed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake all who wait; they look again whether their claim holds."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def until(self, claim: Callable[[], object], timeout_seconds: float | None = PATIENCE_SECONDS) -> None:
        """Wait until the claim holds.

        Raises:
            TimeoutError: it did not in time.

        """
        async with asyncio.timeout(timeout_seconds):
            while not claim():
                await self._event.wait()


class Beat:
    """The rounds of one thread: each begins after a pause, or at once when somebody asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._request = asyncio.Event()
        self._changed = Signal()
        self._done = 0
        self._is_resting = False

    async def rest(self, seconds: float) -> None:
        """End a round and wait for the next one; `inf` waits for somebody to ask."""
        self._done += 1
        self._is_resting = True
        self._changed.fire()
        try:
            await self._clock.wait(self._request, seconds)
        finally:
            self._is_resting = False
            self._request.clear()

    def wake(self) -> None:
        """Begin the next round now."""
        self._request.set()

    async def now(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Begin a round now and wait for its end; one that is under way does not count."""
        wanted = self._done + (1 if self._is_resting else 2)
        self.wake()
        await self._changed.until(lambda: self._done >= wanted, timeout_seconds)
