"""A bounded number of things at once, and a bounded queue before them in which no lane holds up the others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from flotilla_common.errors import Unavailable


class Slots:
    """`at_once` slots. Who waits for one stands in his lane; lanes take turns, and within one it is first come.

    At most `queue` wait, `lane` of them in one lane.
    """

    def __init__(self, at_once: int, *, queue: int, lane: int) -> None:
        self._free = at_once
        self._queue_limit = queue
        self._lane_limit = lane
        self._lanes: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether nobody more may wait."""
        return self.waiting >= self._queue_limit

    @asynccontextmanager
    async def slot(self, lane: Hashable, seconds: float) -> AsyncIterator[None]:
        """Hold a slot; wait for it so long.

        Raises:
            Unavailable: too many wait already.
            TimeoutError: none was free in time.

        """
        if self._free and not self._lanes:
            self._free -= 1
        else:
            await self._wait(lane, seconds)
        try:
            yield
        finally:
            self._hand_on()

    async def _wait(self, lane: Hashable, seconds: float) -> None:
        queue = self._lanes.get(lane)
        if self.is_full or (queue is not None and len(queue) >= self._lane_limit):
            raise Unavailable("too many wait already")
        if queue is None:
            queue = self._lanes[lane] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException:  # whoever leaves in the moment of his turn hands it on
            if turn.done() and not turn.cancelled():
                self._hand_on()
            else:
                self._leave(lane, turn)
            raise

    def _leave(self, lane: Hashable, turn: asyncio.Future[None]) -> None:
        queue = self._lanes.get(lane)
        if queue is None or turn not in queue:  # passed over already
            return
        queue.remove(turn)  # who waits longest leaves first: it is found at once
        self.waiting -= 1
        if not queue:
            del self._lanes[lane]

    def _hand_on(self) -> None:
        """Give a slot to the lane that has waited longest for its turn."""
        while self._lanes:
            lane, queue = self._lanes.popitem(last=False)
            turn = queue.popleft()
            self.waiting -= 1
            if queue:
                self._lanes[lane] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
