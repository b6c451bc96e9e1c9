"""Measure the parts of live queries that are asked for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.house import House
from bench.live import reach, settling
from bench.live.place import HOSTS, LivePlace, start
from bench.parts import rows_of
from bench.rows import Row

PARTS: dict[str, Callable[[LivePlace], Iterator[Row]]] = {
    "settling": settling.rows,
    "reach": reach.rows,
}


def measure(parts: Iterable[str], directory: Path) -> Iterator[Row]:
    """Yield the rows of these parts."""
    with House(directory, known_hosts=HOSTS) as house:
        yield from rows_of("live queries", parts, PARTS, start(house))
