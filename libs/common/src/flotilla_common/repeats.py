"""Warnings that say the same again and again, as in an outage: a few are written, then how many were left out."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from structlog import DropEvent

WRITTEN = 5  # of the same kind, in SECONDS
SECONDS = 10.0
KINDS = 256
LONGEST = 80  # characters of an error that tell kinds apart


@dataclass
class _Period:
    since: float
    written: int = 0
    left_out: int = 0


class Repeats:
    """A processor of structlog. Of one kind are warnings that differ in numbers, and in what their errors say, alone.

    Their texts are equal (event, consumer, name of an object), and the class of `error`. Others, and warnings without
    `error`, all pass. The first one after a period tells in `left_out` how many of its kind were not written in it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._periods: dict[tuple[str, ...], _Period] = {}

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event, or raise DropEvent."""
        if method != "warning" or "error" not in event:
            return event
        period = self._period_of(event)
        if period.written >= WRITTEN:
            period.left_out += 1
            raise DropEvent
        period.written += 1
        return event

    def _period_of(self, event: MutableMapping[str, Any]) -> _Period:
        error = str(event["error"]).partition("(")[0][:LONGEST]
        texts = (f"{name} {value}" for name, value in event.items() if isinstance(value, str) and name != "error")
        kind, now = (error, *texts), self._clock()
        period = self._periods.get(kind)
        if period is not None and now - period.since < SECONDS:
            return period
        if period is not None and period.left_out:
            event["left_out"] = period.left_out
        if len(self._periods) >= KINDS:
            self._periods.clear()
        period = self._periods[kind] = _Period(now)
        return period
