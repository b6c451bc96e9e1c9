"""The parts of a group of measures, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from bench.load_client import LoadFailed
from bench.rows import Row

P = TypeVar("P")
REASON_LIMIT = 200  # characters


def rows_of(
    group: str, parts: Iterable[str], known: Mapping[str, Callable[[P], Iterator[Row]]], place: P
) -> Iterator[Row]:
    """Yield the rows of these parts. A part that cannot be measured yields one row that says why."""
    for part in parts:
        print(f"{group}, {part} ...", flush=True)
        try:
            yield from known[part](place)
        except LoadFailed as error:
            print(f"    {error}", flush=True)
            yield Row(f"{part}: the rest of it", None, "", None, str(error).splitlines()[0][:REASON_LIMIT])
