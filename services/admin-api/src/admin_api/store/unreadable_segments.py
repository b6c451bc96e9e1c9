"""Segments of the archive that are damaged or gone: waited for at first, then read around, and told of all the time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

import structlog
from flotilla_common.errors import Unavailable

from admin_api import metrics

MISSING, DAMAGED = "missing", "damaged"
PATIENCE_SECONDS = 30.0  # a store that is being repaired, or mounted, is waited for so long
FORGET_SECONDS = 600.0  # without a failed reading, after which it is waited for again
LOOK_SECONDS = 60.0  # after which a damaged file is fetched again
MOST = 1000

log = structlog.get_logger()


@dataclass
class _Trouble:
    since: float
    last: float
    fetched: float


class UnreadableSegments:
    """What could not be read lately in this process, by object."""

    def __init__(self) -> None:
        self._troubles: OrderedDict[str, _Trouble] = OrderedDict()

    def note(self, name: str, reason: str, detail: str = "") -> None:
        """Take down a failed reading; returns once the segment has been unreadable for long enough to go on without.

        Raises:
            Unavailable: it has not; the same is to be read again.

        """
        now = time.monotonic()
        metrics.UNREADABLE_SEGMENTS.labels(reason).inc()
        trouble = self._troubles.get(name)
        if trouble is None or now - trouble.last > FORGET_SECONDS:
            log.error("archived answers cannot be read", object=name, reason=reason, detail=detail)
            trouble = self._troubles[name] = _Trouble(now, now, now)
        trouble.last = now
        self._troubles.move_to_end(name)
        if len(self._troubles) > MOST:
            self._troubles.popitem(last=False)
        if now - trouble.since < PATIENCE_SECONDS:
            raise Unavailable(f"{name} is {reason} {detail}".rstrip())

    def is_due(self, name: str) -> bool:
        """Whether a damaged file should be fetched again: always while it is waited for, later once in a minute."""
        now = time.monotonic()
        trouble = self._troubles.get(name)
        if trouble is None or now - trouble.since < PATIENCE_SECONDS:
            return True
        if now - trouble.fetched < LOOK_SECONDS:
            return False
        trouble.fetched = now
        return True
