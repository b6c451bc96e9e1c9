"""How much of Redis is used, by whom, and when that is too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from live_query.domain.archive import ArchivePolicy

KIB = 1024
FULL = 0.8
PRESSED = 0.5  # from here on more is archived than each campaign's share
RELIEVED = 0.4
FLOORS = ((FULL, KIB), (0.7, 4 * KIB), (0.6, 16 * KIB), (0.0, 64 * KIB))
"""Fullness from which on, and what an open campaign then keeps at least, in bytes.

A small segment costs an object and a row as a large one does: many small campaigns are only touched when the large ones
leave no room. A stream with any entry takes more than 4 KiB, so the last floor is below every one.
"""


class HotMemory:
    """What campaigns take of Redis, as last seen, against their bound and the server's own.

    `fullness` is 0.8 where campaigns take all that they may together, or 80 % of the server's memory is used.
    """

    def __init__(self, policy: ArchivePolicy) -> None:
        self._policy = policy
        self._sizes: dict[int, int] = {}
        self.held = 0
        """Bytes of all campaigns together."""
        self.used = 0.0
        """Part of the server's memory that is used, by anybody; 0 where it has no limit."""

    @property
    def fullness(self) -> float:
        """The worse of the two."""
        return max(self.used, FULL * self.held / self._policy.total_hot_bytes)

    @property
    def is_pressed(self) -> bool:
        """Whether more than each one's share must go."""
        return self.fullness > PRESSED

    @property
    def is_relieved(self) -> bool:
        """Whether a pressed one has room again."""
        return self.fullness < RELIEVED

    def limit(self, *, pressed: bool) -> int:
        """Return above which size, in bytes, something of a campaign goes; less the fuller it is, once pressed."""
        share = self._policy.hot_bytes
        if not pressed:
            return share
        return min(share, next(floor for fullness, floor in FLOORS if self.fullness >= fullness))

    def note(self, sizes: Mapping[int, int]) -> None:
        """Take down how large campaigns are now, in bytes; those without any are forgotten."""
        for campaign_id, size in sizes.items():
            self.held += size - self._sizes.pop(campaign_id, 0)
            if size:
                self._sizes[campaign_id] = size

    def size(self, campaign_id: int) -> int:
        """Return the bytes of one campaign."""
        return self._sizes.get(campaign_id, 0)

    @property
    def known(self) -> set[int]:
        """Campaigns that take any memory."""
        return set(self._sizes)

    def largest_first(self) -> Iterator[int]:
        """Yield the campaigns, the largest first, by the sizes of now."""
        return iter(sorted(self._sizes, key=lambda number: -self._sizes[number]))
