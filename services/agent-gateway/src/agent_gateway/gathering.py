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
from enum import Enum

WANTED = 5  # requests that a pause waits for, at the rate at which they come
LONGEST_SECONDS = 0.008  # where they take longer to come there are no pauses: they would save little
ENOUGH = 8  # requests since the last pause: they gather by themselves
COUNTED = 128  # requests that are looked at together, a lot
LAST_LOTS = 2  # with pauses: how often requests come now
CHANGED = 1.25  # times the time between two requests, or a part of it: worth a look


class Phase(Enum):
    """What is done for so many lots."""

    LOOKING = 3  # no pauses, to see how often requests come
    PAUSING = 60  # pauses
    TRYING = 6  # pauses in half of the lots, where requests came more seldom with them: do they wait for them?
    RESTING = 128  # no pauses, where they do


TRIED = ((0, 1), (3, 2), (4, 5))  # lots with pauses, each beside one without: what comes and goes does not keep step


class Gathering:
    """The pauses of one event loop. Not for several threads."""

    __slots__ = (
        *("_clock", "_counted", "_flows_until", "_gathered", "_is_ahead", "_longest_seconds", "_pause_seconds"),
        *("_phase", "_seen", "_since", "_sleep", "_with_pauses", "_without_pauses"),
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
        self._gathered = 0  # requests since the last pause
        self._is_ahead = False  # whether a pause is
        self._flows_until = 0.0
        self._counted, self._since = 0, clock()  # requests of this lot, and when it began
        self._go_on(Phase.LOOKING)

    def came(self) -> None:
        """Count a request of a known host, and pause after all that is to be done now. In the event loop only."""
        self._counted += 1
        if self._counted == COUNTED:
            self._end_lot(self._clock())
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

    def _next_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._pause)

    def _pause(self) -> None:
        gathered, self._gathered, self._is_ahead = self._gathered, 0, False
        if not self._pause_seconds or gathered >= ENOUGH:
            return
        now = self._clock()
        if now - self._since > self._lot_seconds:
            self._end_lot(now)
        elif now >= self._flows_until:
            self._sleep(self._pause_seconds)

    @property
    def _lot_seconds(self) -> float:
        """How long a lot with pauses may take; too few come otherwise, whether it is ever full."""
        return CHANGED * COUNTED * self._longest_seconds / WANTED

    def _go_on(self, phase: Phase, pause_seconds: float = 0.0) -> None:
        self._phase, self._pause_seconds = phase, pause_seconds
        self._seen: list[float] = []  # seconds between two requests, in each lot

    def _end_lot(self, now: float) -> None:
        seconds, count = now - self._since, self._counted
        self._counted, self._since = 0, now
        self._seen.append(seconds / COUNTED)  # or more: what the clock ends is not full
        is_over = len(self._seen) == self._phase.value
        if self._phase is Phase.PAUSING:
            if count < COUNTED:  # too few come; a silence says nothing of those before it
                self._look(self._seen[-1] if seconds < 2 * self._lot_seconds else 0.0)
            elif is_over or self._has_changed:
                self._look(min(self._seen[-LAST_LOTS:]))
        elif self._phase is Phase.TRYING:
            has_pauses = len(self._seen) in {paused for paused, _ in TRIED}
            self._pause_seconds = WANTED * self._without_pauses if has_pauses else 0.0
            if is_over:
                self._have_tried()
        elif is_over:
            self._have_looked(statistics.median(self._seen[-Phase.LOOKING.value :]))

    @property
    def _has_changed(self) -> bool:
        last, usual = self._seen[-LAST_LOTS:], self._without_pauses
        return len(last) == LAST_LOTS and (min(last) > CHANGED * usual or CHANGED * max(last) < usual)

    def _look(self, with_pauses: float) -> None:
        self._with_pauses = with_pauses
        self._go_on(Phase.LOOKING)

    def _have_looked(self, each_seconds: float) -> None:
        is_suspect = self._phase is Phase.RESTING or self._with_pauses > CHANGED * each_seconds
        self._begin(Phase.TRYING if is_suspect else Phase.PAUSING, each_seconds)

    def _have_tried(self) -> None:
        pairs = [(self._seen[paused], self._seen[unpaused]) for paused, unpaused in TRIED]
        do_wait = all(with_pauses > CHANGED * without_pauses for with_pauses, without_pauses in pairs)
        self._begin(Phase.RESTING if do_wait else Phase.PAUSING, statistics.median(pair[1] for pair in pairs))

    def _begin(self, phase: Phase, each_seconds: float) -> None:
        self._with_pauses, self._without_pauses = 0.0, each_seconds
        pause_seconds = WANTED * each_seconds
        if pause_seconds > self._longest_seconds:
            self._go_on(Phase.LOOKING)
        else:
            self._go_on(phase, 0.0 if phase is Phase.RESTING else pause_seconds)
