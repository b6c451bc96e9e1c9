"""Which campaigns were reported as watched lately, so that any number of viewers costs one message."""

from __future__ import annotations

VIEWED_SECONDS = 10.0
_KEPT = 1_024


class CampaignViews:
    """Remembers, for this process, when live-query was last told that a campaign is watched."""

    def __init__(self) -> None:
        self._told: dict[int, float] = {}

    def is_due(self, campaign_id: int, now: float) -> bool:
        """Whether it is time to tell again; the caller then does. `now` is any clock that only grows, in seconds."""
        if now - self._told.get(campaign_id, -VIEWED_SECONDS) < VIEWED_SECONDS:
            return False
        if len(self._told) >= _KEPT:
            self._told = {known: told for known, told in self._told.items() if now - told < VIEWED_SECONDS}
        self._told[campaign_id] = now
        return True
