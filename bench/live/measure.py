"""Measure the parts of live queries that are asked for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.house import House
from bench.live import crowd, pressure, settling
from bench.live.place import HOSTS, LivePlace, start
from bench.load_client import LoadFailed
from bench.rows import Row

PARTS: dict[str, Callable[[LivePlace], Iterator[Row]]] = {
    "settling": settling.rows,
    "crowd": crowd.rows,
    "pressure": pressure.rows,
}


def measure(parts: Iterable[str], directory: Path) -> Iterator[Row]:
    """Yield the rows of these parts. A part that cannot be measured yields one row that says why."""
    with House(directory, known_hosts=HOSTS) as house:
        place = start(house)
        for part in parts:
            print(f"live queries, {part} ...", flush=True)
            try:
                yield from PARTS[part](place)
            except LoadFailed as error:
                print(f"    {error}", flush=True)
                yield Row(f"{part}: the rest of it", None, "", None, str(error).splitlines()[0][:200])
