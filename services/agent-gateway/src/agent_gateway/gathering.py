"""Requests gather on the TLS port: where many come, the event loop pauses for a moment before it looks again.

Each request wakes three threads in turn, granian's own, the one that hands over to Python and the event loop's, and
does so twice. Below saturation each has just gone to sleep by then, and to wake it costs more than the rest of a poll.
What comes during a pause is handed over in one turn (`docs/decisions/0037`).

How long pauses must be is seen from how often requests come without them. Whether that stays so is looked at all the
time: a few clients that ask again as soon as they are answered would come the more seldom, the longer they wait.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

WANTED = 5  # requests that a pause waits for, at the rate at which they come
LONGEST_SECONDS = 0.008  # where they take longer to come there are no pauses: they would save little
ENOUGH = 8  # requests since the last pause: they gather by themselves
COUNTED = 128  # requests that are looked at together, a lot
LOOK_LOTS = 3  # without pauses, to see how often requests come
PAUSE_LOTS = 60  # with pauses, before the next look
REST_LOTS = 128  # without pauses, where it was they that clients waited for
LAST_LOTS = 2  # with pauses: how often requests come now
CHANGED = 1.25  # times the time between two requests, or a part of it: worth a look


class Gathering:
    """The pauses of one event loop. Not for several threads."""

    __slots__ = (
        *("_clock", "_counted", "_counted_since", "_flows_until", "_gathered", "_is_ahead", "_is_suspected"),
        *("_longest_seconds", "_lots", "_pause_seconds", "_seen", "_sleep", "_with_pauses", "_without_pauses"),
    )

    def __init__(
        self,
        longest_seconds: float = LONGEST_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the longest pause, in seconds, 0: there are none; the clock; what sleeps, and the event loop with it."""
        self._longest_seconds, self._clock, self._sleep = longest_seconds, clock, sleep
        self._without_pauses = 0.0  # seconds between two requests, at the last look
        self._with_pauses = 0.0  # the same in the last lots before it; 0: not known
        self._is_suspected = False  # whether it was so much more that the pauses may be why
        self._gathered = 0  # requests since the last pause
        self._is_ahead = False  # whether a pause is
        self._flows_until = 0.0
        self._go_on(LOOK_LOTS)

    def came(self) -> None:
        """Count a request of a known host, and pause after all that is to be done now. In the event loop only."""
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

    def flows(self) -> None:
        """Pause for nobody now: a body comes in many pieces, each of which would wait."""
        if self._pause_seconds:
            self._flows_until = self._clock() + self._longest_seconds

    def _go_on(self, lots: int, pause_seconds: float = 0.0) -> None:
        self._pause_seconds, self._lots = pause_seconds, lots
        self._seen: list[float] = []  # seconds between two requests, in each lot
        self._counted, self._counted_since = 0, self._clock()

    def _measure(self) -> None:
        now = self._clock()
        self._seen.append((now - self._counted_since) / COUNTED)
        self._counted, self._counted_since = 0, now
        if not self._pause_seconds:
            if len(self._seen) == self._lots:
                self._decide(statistics.median(self._seen[-LOOK_LOTS:]))
            return
        last = self._seen[-LAST_LOTS:]
        usual = self._without_pauses
        has_changed = len(last) == LAST_LOTS and (min(last) > CHANGED * usual or CHANGED * max(last) < usual)
        if has_changed or len(self._seen) == self._lots:
            self._with_pauses = min(last)
            self._go_on(LOOK_LOTS)

    def _decide(self, each_seconds: float) -> None:
        was_suspected, self._is_suspected = self._is_suspected, self._with_pauses > CHANGED * each_seconds
        self._with_pauses, self._without_pauses = 0.0, each_seconds
        if WANTED * each_seconds > self._longest_seconds:
            self._go_on(LOOK_LOTS)
        elif self._is_suspected and was_suspected:
            self._go_on(REST_LOTS)
        else:
            self._go_on(PAUSE_LOTS, WANTED * each_seconds)

    def _next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._pause)

    def _pause(self) -> None:
        gathered, self._gathered, self._is_ahead = self._gathered, 0, False
        if not self._pause_seconds or gathered >= ENOUGH:
            return
        now = self._clock()
        if now - self._counted_since > CHANGED * COUNTED * self._longest_seconds / WANTED:
            self._go_on(LOOK_LOTS)  # too few come, whether the lot is ever full
        elif now >= self._flows_until:
            self._sleep(self._pause_seconds)
