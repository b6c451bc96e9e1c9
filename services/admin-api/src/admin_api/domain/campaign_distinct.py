"""How many values another column has within each group of an aggregate, in bounded memory.

Exact while there are few; from then on a sketch for each of the groups that have had the most answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from admin_api.domain.sketches import ValueSketch

MOST_VALUES = 8_192  # of all groups together; beyond them every group is estimated
MOST_SKETCHES = 2_048  # when there are so many, the half that fewer hosts were in is forgotten


@dataclass(frozen=True)
class Bounds:
    """A number that is between `at_least` and `at_most`; exact when they are equal."""

    estimate: int
    at_least: int
    at_most: int


def exactly(number: int) -> Bounds:
    """Return a number that is known."""
    return Bounds(number, number, number)


class DistinctValues:
    """Counts values by group. A row without the column has none, as in SQL's `count(DISTINCT …)`."""

    def __init__(self) -> None:
        self._values: dict[str, set[str]] = {}
        self._number = 0
        self._sketches: dict[str, ValueSketch] | None = None
        self._has_forgotten = False

    def add(self, found: Mapping[str, Set[str]]) -> None:
        """Take the values of one host into account, by group."""
        for key, values in found.items():
            if not values:
                continue
            if self._sketches is None:
                known = self._values.setdefault(key, set())
                before = len(known)
                known |= values
                self._number += len(known) - before
            else:
                self._sketch_of(self._sketches, key).add(values)
        if self._sketches is None and self._number > MOST_VALUES:
            self._begin_sketches()

    def of(self, key: str, rows: Bounds) -> Bounds:
        """Return how many values a group has, which are no more than its rows."""
        if self._sketches is None:
            return exactly(len(self._values.get(key, ())))
        sketch = self._sketches.get(key)
        if sketch is None:
            return Bounds(0, 0, rows.at_most) if self._has_forgotten else exactly(0)
        found = sketch.distinct()
        at_most = min(found.at_most, rows.at_most) if sketch.is_whole else rows.at_most
        return Bounds(min(found.estimate, at_most), min(found.at_least, at_most), at_most)

    def _begin_sketches(self) -> None:
        from admin_api.domain.sketches import ValueSketch  # noqa: PLC0415 - it takes 21 MB, which few ever need

        most_first = sorted(self._values, key=lambda key: len(self._values[key]), reverse=True)
        self._has_forgotten = len(most_first) > MOST_SKETCHES // 2
        self._sketches = {}
        for key in most_first[: MOST_SKETCHES // 2]:
            self._sketches[key] = ValueSketch(is_whole=True)
            self._sketches[key].add(self._values[key])
        self._values = {}

    def _sketch_of(self, sketches: dict[str, ValueSketch], key: str) -> ValueSketch:
        """Return a group's sketch. One that begins when others were forgotten may lack what came before."""
        from admin_api.domain.sketches import ValueSketch  # noqa: PLC0415 - as above

        sketch = sketches.get(key)
        if sketch is None:
            if len(sketches) >= MOST_SKETCHES:
                for rare in sorted(sketches, key=lambda one: sketches[one].hosts)[: MOST_SKETCHES // 2]:
                    del sketches[rare]
                self._has_forgotten = True
            sketch = sketches[key] = ValueSketch(is_whole=not self._has_forgotten)
        return sketch
