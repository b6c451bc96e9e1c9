"""Time that depends on nothing but what hosts wait for: tests need no patience and know every moment exactly."""

import asyncio
import contextlib
import heapq
import itertools
import math
from collections.abc import AsyncIterator, Iterator

from osquery_simulator.clock import Clock

ROUNDS = 50
"""Quiet rounds of the event loop before time goes on; locks and events are handed over meanwhile."""
EXCHANGE_SECONDS = 0.002
"""What a request or a query costs; in the recorded traffic it is about that much."""


class VirtualClock(Clock):
    """Stands while anything is being done, then jumps to the end of the next pause, if that is not beyond `limit`.

    Of pauses that end together the one that began last is the first to end.
    """

    def __init__(self, unix: float = 1_795_492_461.0, limit: float = 5000.0) -> None:
        super().__init__()
        self.limit = limit
        self._unix = unix
        self._now = 0.0
        self._busy = 0
        self._sleepers: list[tuple[float, int, asyncio.Timeout]] = []
        self._gone: set[int] = set()
        """Numbers of sleepers that wait no longer."""
        self._numbers = itertools.count()
        self._looks = 0
        self._settled = asyncio.Event()

    def now(self) -> float:
        """Give seconds since the clock was made."""
        return self._now

    def unix(self) -> float:
        """Give the time of day of the hosts."""
        return self._unix + self._now

    def set_unix(self, unix: float) -> None:
        """Choose the time of day."""
        self._unix = unix - self._now

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event or for the clock to have moved so far."""
        if math.isinf(seconds):
            await event.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with self.timeout(seconds):
                await event.wait()

    @contextlib.asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError when the clock has moved so far."""
        number = next(self._numbers)
        async with asyncio.timeout(None) as pause:
            heapq.heappush(self._sleepers, (self._now + max(seconds, 0), -number, pause))
            self._look()
            try:
                yield
            finally:
                self._gone.add(number)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Stand still until the work is done."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._now += EXCHANGE_SECONDS
            self._look()

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Go on although somebody is busy, who only waits for this."""
        self._busy -= 1
        self._look()
        try:
            yield
        finally:
            self._busy += 1

    async def run_to(self, moment: float) -> None:
        """Let everything happen that happens until then."""
        self.limit = moment
        self._settled.clear()
        self._look()
        await self._settled.wait()

    def _look(self) -> None:
        """Go on after some quiet rounds of the event loop; whatever happens meanwhile begins the count again."""
        self._looks += 1
        asyncio.get_running_loop().call_soon(self._count_down, self._looks, ROUNDS)

    def _count_down(self, look: int, rounds: int) -> None:
        if look != self._looks or self._busy:
            return
        if rounds:
            asyncio.get_running_loop().call_soon(self._count_down, look, rounds - 1)
        else:
            self._go_on()

    def _go_on(self) -> None:
        while self._sleepers and -self._sleepers[0][1] in self._gone:
            self._gone.discard(-heapq.heappop(self._sleepers)[1])
        if not self._sleepers or self._sleepers[0][0] > self.limit:
            self._settled.set()
            return
        moment, _, pause = heapq.heappop(self._sleepers)
        self._now = max(self._now, moment)
        pause.reschedule(asyncio.get_running_loop().time())
        self._look()
