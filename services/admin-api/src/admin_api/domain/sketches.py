"""Counts of more groups than are kept one by one, by Apache DataSketches; each with its bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from datasketches import frequent_items_error_type, frequent_strings_sketch, hll_sketch

from admin_api.domain.campaign_distinct import Bounds

SKETCH_LOG = 12  # of the frequent items: 3,072 at most are kept, an error is at most 3.5 / 4,096 of what was counted
DISTINCT_LOG = 12  # of the distinct counter: 4 KiB, standard error 1.6 %
VALUES_LOG = 10  # of the values within a group: half a KiB, standard error 3.3 %
DEVIATIONS = 2  # the bounds of the distinct count hold with about 95 %


class Sketches:
    """What an aggregate goes on with when its groups are too many; it begins with the exact counts so far."""

    def __init__(self, counts: Mapping[str, Sequence[int]]) -> None:
        self._hosts = frequent_strings_sketch(SKETCH_LOG)
        self._rows = frequent_strings_sketch(SKETCH_LOG)
        self._distinct = hll_sketch(DISTINCT_LOG)
        for key, (hosts, rows) in counts.items():
            self._count(key, hosts, rows)

    def add(self, found: Mapping[str, int]) -> None:
        """Count one host, and its rows by group."""
        for key, number in found.items():
            self._count(key, 1, number)

    def _count(self, key: str, hosts: int, rows: int) -> None:
        self._hosts.update(key, hosts)
        self._rows.update(key, rows)
        self._distinct.update(key)

    def distinct(self) -> Bounds:
        """Return how many groups there are."""
        return _bounds_of(self._distinct)

    def groups(self) -> list[tuple[str, Bounds, Bounds]]:
        """Return the groups that may be among the most frequent, with hosts and rows."""
        kept = self._hosts.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        return [(key, Bounds(estimate, low, high), self._rows_of(key)) for key, estimate, low, high in kept]

    def _rows_of(self, key: str) -> Bounds:
        rows = self._rows
        return Bounds(rows.get_estimate(key), rows.get_lower_bound(key), rows.get_upper_bound(key))


class ValueSketch:
    """The values of a column within one group. `hosts` is how many have added some; `is_whole`: none was missed."""

    def __init__(self, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self.hosts = 0
        self._values = hll_sketch(VALUES_LOG)

    def add(self, values: Iterable[str]) -> None:
        """Take the values of one host into account."""
        self.hosts += 1
        for value in values:
            self._values.update(value)

    def distinct(self) -> Bounds:
        """Return how many values there are among those that were added."""
        return _bounds_of(self._values)


def _bounds_of(sketch: hll_sketch) -> Bounds:
    low, high = sketch.get_lower_bound(DEVIATIONS), sketch.get_upper_bound(DEVIATIONS)
    return Bounds(round(sketch.get_estimate()), int(low), int(high) + 1)
