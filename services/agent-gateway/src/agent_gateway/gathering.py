"""Requests gather on the TLS port: where many come, the event loop pauses for a moment before it looks again.

Each request wakes three threads in turn, granian's own, the one that hands over to Python and the event loop's, and
does so twice. Below saturation each has just gone to sleep by then, and to wake it costs more than the rest of a poll.
What comes during a pause is handed over in one turn (`docs/decisions/0037`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WANTED = 3  # requests that a pause waits for, at the rate at which they come
LONGEST_SECONDS = 0.002  # where less than two would come in that time nothing is saved
ENOUGH = 16  # requests that came since the last pause: they gather without one
COUNTED = 64  # requests that the rate is taken from


class Gathering:
    """The pauses of one event loop. Not for several threads."""

    __slots__ = ("_clock", "_counted", "_counted_since", "_gathered", "_is_ahead", "_pause_seconds", "_sleep")

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Take the clock, in seconds, and what sleeps so long: the event loop stands still meanwhile."""
        self._clock, self._sleep = clock, sleep
        self._counted_since = clock()
        self._counted = 0
        self._pause_seconds = 0.0
        self._gathered = 0  # since the last pause
        self._is_ahead = False

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
        each_seconds = (now - self._counted_since) / COUNTED
        self._counted, self._counted_since = 0, now
        is_worth_it = 2 * each_seconds <= LONGEST_SECONDS
        self._pause_seconds = min(WANTED * each_seconds, LONGEST_SECONDS) if is_worth_it else 0.0

    def _next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._pause)

    def _pause(self) -> None:
        gathered, self._gathered, self._is_ahead = self._gathered, 0, False
        if gathered < ENOUGH:
            self._sleep(self._pause_seconds)
