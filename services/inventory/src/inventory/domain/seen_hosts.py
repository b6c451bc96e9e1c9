"""Last-seen times on their way to the database: bitmaps of hosts, each with its time, until somebody writes them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pyroaring import BitMap

COMPACT_AT = 32


class SeenHosts:
    """Collects bitmaps. Bounded: a host stays once, however long nobody takes them."""

    def __init__(self) -> None:
        self._seen: list[tuple[datetime, BitMap]] = []

    def __len__(self) -> int:
        return sum(len(hosts) for _, hosts in self._seen)

    def add(self, hosts: BitMap, seen_at: datetime) -> None:
        """Remember that these hosts were seen then."""
        self._seen.append((seen_at, hosts))
        if len(self._seen) >= COMPACT_AT:
            self._seen = list(newest_only(self._seen))

    def take(self) -> list[tuple[datetime, BitMap]]:
        """Return what there is, each host once with its newest time, and forget it."""
        taken, self._seen = list(newest_only(self._seen)), []
        return taken

    def give_back(self, taken: list[tuple[datetime, BitMap]]) -> None:
        """Remember again what could not be written."""
        for seen_at, hosts in taken:
            self.add(hosts, seen_at)


def newest_only(seen: list[tuple[datetime, BitMap]]) -> Iterator[tuple[datetime, BitMap]]:
    """Yield the bitmaps newest first, each without the hosts of newer ones, empty ones left out."""
    done = BitMap()
    for seen_at, hosts in sorted(seen, key=lambda item: item[0], reverse=True):
        fresh = hosts - done
        if fresh:
            done |= fresh
            yield seen_at, fresh
