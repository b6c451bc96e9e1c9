"""Requests gather on the TLS port: where many come, the event loop pauses for a moment before it looks again.

Each request wakes three threads in turn, granian's own, the one that hands over to Python and the event loop's, and
does so twice. Below saturation each has just gone to sleep by then, and to wake it costs more than the rest of a poll.
What comes during a pause is handed over in one turn (`docs/decisions/0037`).

How long pauses must be is seen from how often requests come without them. Whether that stays so is looked at all the
time: a few clients that ask again as soon as they are answered would come the more seldom, the longer they wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WANTED = 5  # requests that a pause waits for, at the rate at which they come
LONGEST_SECONDS = 0.008  # where they take longer to come there are no pauses: they would save little
ENOUGH = 16  # requests that came since the last pause: they gather without one
COUNTED = 128  # requests that are looked at together; below, such lots
LOOKING = 3  # without pauses, to see how often requests come
PAUSING = 60  # with pauses, before the next look
SLOWED = 1.5  # times the time between two requests, in lots on end: either fewer come, or it is pauses they wait for
TWICE = 2  # such lots
RESTING = 128  # without pauses, where it was that


class Gathering:
    """The pauses of one event loop. Not for several threads."""

    __slots__ = (
        *("_clock", "_counted", "_counted_since", "_gathered", "_is_ahead", "_lots", "_pause_seconds"),
        *("_seen", "_sleep", "_slow_seconds", "_unpaused_seconds"),
    )

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Take the clock, in seconds, and what sleeps so long: the event loop stands still meanwhile."""
        self._clock, self._sleep = clock, sleep
        self._counted, self._counted_since = 0, clock()
        self._unpaused_seconds = 0.0  # between two requests, at the last look
        self._slow_seconds = 0.0  # the same with pauses, where it was so much more that there was another look
        self._gathered = 0  # since the last pause
        self._is_ahead = False
        self._go_on(LOOKING)

    def _go_on(self, lots: int, pause_seconds: float = 0.0) -> None:
        self._pause_seconds, self._lots = pause_seconds, lots
        self._seen: list[float] = []  # seconds between two requests, in each lot

    def came(self) -> None:
        """Count a request, and pause after all that is to be done now. In the event loop only."""
        self._counted += 1
        if self._counted == COUNTED:
            self._measure()
        if not self._pause_seconds:
            return
        self._gathered += 1
        if not self._is_ahead:
            self._is_ahead = True
            # one turn further on: granian makes a task of each request, whose first step comes in the next turn only
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _measure(self) -> None:
        now = self._clock()
        self._seen.append((now - self._counted_since) / COUNTED)
        self._counted, self._counted_since = 0, now
        is_over = len(self._seen) == self._lots
        if self._pause_seconds:
            slow = self._seen[-TWICE:]
            is_slowed = len(slow) == TWICE and min(slow) > SLOWED * self._unpaused_seconds
            if is_slowed or is_over:
                self._slow_seconds = min(slow) if is_slowed else 0.0
                self._go_on(LOOKING)
        elif is_over:
            self._decide(sorted(self._seen)[self._lots // 2])

    def _decide(self, each_seconds: float) -> None:
        slow_seconds, self._slow_seconds, self._unpaused_seconds = self._slow_seconds, 0.0, each_seconds
        if WANTED * each_seconds > LONGEST_SECONDS:
            self._go_on(LOOKING)
        elif slow_seconds > SLOWED * each_seconds:
            self._go_on(RESTING)
        else:
            self._go_on(PAUSING, WANTED * each_seconds)

    def _next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._pause)

    def _pause(self) -> None:
        gathered, self._gathered, self._is_ahead = self._gathered, 0, False
        if gathered < ENOUGH:
            self._sleep(self._pause_seconds)
