"""Python's cyclic garbage collector, told what is here to stay.

Requests leave little cyclic garbage, but each look for it goes over what it has not seen yet, and now and then over
every host in the cache: with the usual thresholds that took a quarter of the processor time of a busy gateway.
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 20, 50)  # objects more than before, then as many rounds of each younger generation
GROWTH = 1.5


class Collector:
    """Sets the process's garbage collector; one per process."""

    def __init__(self) -> None:
        gc.set_threshold(*THRESHOLDS)
        self._hosts_settled = -1

    def settle(self, known_hosts: int) -> None:
        """Take all that is alive now out of the collector's sight if it is much more than the last time.

        Each time everything is looked at first, which takes about a tenth of a second per 300,000 hosts.
        """
        if known_hosts > self._hosts_settled * GROWTH:
            gc.collect()
            gc.freeze()
            self._hosts_settled = max(known_hosts, 1000)
