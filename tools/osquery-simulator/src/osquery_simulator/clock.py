"""The time of the pretended hosts: every pause and every look at a clock goes through here."""

import asyncio
import contextlib
import math
import time


class Clock:
    """Real time, or the same run faster or slower."""

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError("the scale of a clock is above 0")
        self._scale = scale  # real seconds per second of the hosts

    def now(self) -> float:
        """Give seconds of the hosts since some moment."""
        return time.monotonic() / self._scale

    def unix(self) -> float:
        """Give the time of day; it is real even where hosts live faster, for it stands in what they log."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of the hosts."""
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, at most so long; `inf` is for ever."""
        longest = None if math.isinf(seconds) else max(seconds, 0) * self._scale
        with contextlib.suppress(TimeoutError):  # the pause is over: that is how most of them end
            async with asyncio.timeout(longest):
                await event.wait()

    def timeout(self, seconds: float) -> contextlib.AbstractAsyncContextManager[object]:
        """Limit an exchange with the server; in real seconds, for the server is no faster than it is."""
        return asyncio.timeout(seconds)

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Mark work that takes real time; the clock of the tests stands still meanwhile."""
        return contextlib.nullcontext()

    def idle(self) -> contextlib.AbstractContextManager[None]:
        """Mark that somebody's work is nothing but waiting just now."""
        return contextlib.nullcontext()
