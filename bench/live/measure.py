"""Measure the parts of live queries that are asked for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from bench.house import House
from bench.live import crowd, pressure, reach, settling, viewer
from bench.live.place import HOSTS, LivePlace, start
from bench.parts import rows_of
from bench.rows import Row

AT_LIVE_QUERY: dict[str, Callable[[LivePlace], Iterator[Row]]] = {
    "settling": settling.rows,
    "reach": reach.rows,
    "crowd": crowd.rows,
    "pressure": pressure.rows,
}
THROUGH_ALL: dict[str, Callable[[Path], Iterator[Row]]] = {
    "viewer": viewer.rows,
}
PARTS = (*AT_LIVE_QUERY, *THROUGH_ALL)


def measure(parts: Collection[str], directory: Path) -> Iterator[Row]:
    """Yield the rows of these parts."""
    at_live_query = [part for part in AT_LIVE_QUERY if part in parts]
    if at_live_query:
        with House(directory, known_hosts=HOSTS) as house:
            yield from rows_of("live queries", at_live_query, AT_LIVE_QUERY, start(house))
    for part in (part for part in THROUGH_ALL if part in parts):
        yield from rows_of("live queries", [part], THROUGH_ALL, directory / part)
