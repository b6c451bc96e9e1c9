"""Token buckets by key in bounded memory, free of charge while all keys together stay below what one of them may."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K", int, str)

CAPACITY = 65_536  # keys remembered at a time, twice: some 20 MiB at most
MOST_DEBT = 2.0  # bursts: how far a bucket can be emptied


class Buckets(Generic[K]):
    """Each key may take `rate` units a second in the long run, and `burst` units at once after a rest.

    A bucket that has anything left may be emptied beyond its end: one request is never too large for it, and the next
    ones wait for that. A bucket is one number, the moment at which it will be full again (GCRA); a full one is not
    kept. The keys are kept in two generations: the older one is dropped when every bucket in it must be full again, or
    when the younger one has reached its capacity. So nothing is ever swept, and a flood of keys makes old ones be
    forgotten instead of taking memory.

    All keys together are one more bucket. While that one is more than half full no key can have used up its own, so
    nothing is kept at all; who begins to take too much when it is not may take up to half a burst more. `rate` 0 sets
    no limit.
    """

    def __init__(
        self, rate: float, burst: float, *, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds_a_unit = 1.0 / rate if rate > 0 else 0.0
        self._burst = burst * self._seconds_a_unit
        self._capacity = capacity
        self._clock = clock
        self._young: dict[K, float] = {}
        self._old: dict[K, float] = {}
        self._turn_at = 0.0
        self._all_full_at = 0.0
        self._spent_until = -1.0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, key: K, units: float = 1.0) -> bool:
        """Take units from a key's bucket; False when it is empty already: then nothing is taken."""
        now = self._clock()
        seconds = units * self._seconds_a_unit
        self._all_full_at = min(max(self._all_full_at, now) + seconds, now + MOST_DEBT * self._burst)
        if self._all_full_at - now <= self._burst / 2:
            return True
        full_at = max(self._full_at(key), now)
        if full_at - now >= self._burst > 0:
            return False
        full_at = min(full_at + seconds, now + MOST_DEBT * self._burst)
        self._keep(key, full_at, now)
        self._spent_until = max(self._spent_until, full_at - self._burst)
        return True

    def any_spent(self) -> bool:
        """Whether some bucket may be empty now; False costs next to nothing."""
        return self._spent_until >= self._clock()

    def is_spent(self, key: K) -> bool:
        """Whether a key's bucket is empty now."""
        now = self._clock()
        return self._spent_until >= now and self._full_at(key) - now >= self._burst

    def _full_at(self, key: K) -> float:
        found = self._young.get(key)
        return self._old.get(key, 0.0) if found is None else found

    def _keep(self, key: K, full_at: float, now: float) -> None:
        if now >= self._turn_at or len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
            self._turn_at = now + MOST_DEBT * self._burst
        self._young[key] = full_at
