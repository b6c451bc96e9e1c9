"""How many viewers there are, and which campaigns were reported as watched lately: one message for all viewers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

VIEWED_SECONDS = 10.0
_KEPT = 1_024


class CampaignViews:
    """Remembers, for this process, when live-query was last told that a campaign is watched.

    `now` is any clock that only grows, in seconds. `hellos` is how many sockets are open whose owners have not said yet
    who they are; `viewers` is how many have, and watch.
    """

    def __init__(self) -> None:
        self.hellos = 0
        self.viewers = 0
        self._told: dict[int, float] = {}

    @contextmanager
    def greeting(self) -> Iterator[None]:
        """Count one more that has not said who it is, while the block runs."""
        self.hellos += 1
        try:
            yield
        finally:
            self.hellos -= 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count one more viewer, while the block runs."""
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1

    def is_due(self, campaign_id: int, now: float) -> bool:
        """Whether it is time to tell again."""
        return now - self._told.get(campaign_id, now - VIEWED_SECONDS) >= VIEWED_SECONDS

    def note(self, campaign_id: int, now: float) -> None:
        """Remember that it was told now."""
        if len(self._told) >= _KEPT:
            self._told = {known: told for known, told in self._told.items() if now - told < VIEWED_SECONDS}
        self._told[campaign_id] = now
