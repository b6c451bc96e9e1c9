"""A campaign's answers, added up while they come: how many hosts and rows have each value, in bounded memory.

Exact while there are few groups; from then on sketches of Apache DataSketches, whose bounds are told with each number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
from datasketches import frequent_items_error_type, frequent_strings_sketch, hll_sketch

MOST_GROUPS = 2_048  # per grouping; beyond them it is estimated
LONGEST_VALUE = 64  # characters; of a longer value the beginning is kept, and a hash of all of it
SKETCH_LOG = (
    12  # of the frequent items: at most 3,072 are kept, and an error is at most 3.5 / 4,096 of what was counted
)
DISTINCT_LOG = 12  # of the distinct counter: 4 KiB, standard error 1.6 %
DEVIATIONS = 2  # the bounds of the distinct count hold with about 95 %

Grouping = tuple[str, ...]
_key_of = msgspec.json.Encoder().encode
_values_of = msgspec.json.Decoder(list[str | None]).decode


@dataclass(frozen=True)
class Bounds:
    """A number that is between `at_least` and `at_most`; exact when they are equal."""

    estimate: int
    at_least: int
    at_most: int


@dataclass(frozen=True)
class Group:
    """One combination of values (None: a row without that column), on how many hosts and in how many rows it is."""

    values: tuple[str | None, ...]
    hosts: Bounds
    rows: Bounds


class Aggregate:
    """Adds up one grouping. The order of the answers makes no difference while it is exact."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self._exact: dict[str, list[int]] = {}
        self._estimated: _Sketches | None = None

    @property
    def is_exact(self) -> bool:
        """Whether nothing is estimated."""
        return self._estimated is None

    def add(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Count the rows of one host, which answers once."""
        found: dict[str, int] = {}
        for row in rows:
            key = _key_of([_kept(row.get(column)) for column in self.grouping]).decode()
            found[key] = found.get(key, 0) + 1
        if self._estimated is not None:
            self._estimated.add(found)
            return
        for key, number in found.items():
            counts = self._exact.setdefault(key, [0, 0])
            counts[0] += 1
            counts[1] += number
        if len(self._exact) > MOST_GROUPS:
            self._estimated = _Sketches(self._exact)
            self._exact = {}

    def distinct(self) -> Bounds:
        """Return how many groups there are."""
        if self._estimated is not None:
            return self._estimated.distinct()
        return _exactly(len(self._exact))

    def top(self, most: int) -> list[Group]:
        """Return the groups on the most hosts, then with the most rows, then by value."""
        if self._estimated is not None:
            found = self._estimated.groups()
        else:
            found = [(key, _exactly(hosts), _exactly(rows)) for key, (hosts, rows) in self._exact.items()]
        found.sort(key=lambda one: (-one[1].estimate, -one[2].estimate, one[0]))
        return [Group(tuple(_values_of(key)), hosts, rows) for key, hosts, rows in found[:most]]


class _Sketches:
    """What an aggregate goes on with when its groups are too many; it begins with the exact counts so far."""

    def __init__(self, counts: Mapping[str, Sequence[int]]) -> None:
        self._hosts = frequent_strings_sketch(SKETCH_LOG)
        self._rows = frequent_strings_sketch(SKETCH_LOG)
        self._distinct = hll_sketch(DISTINCT_LOG)
        for key, (hosts, rows) in counts.items():
            self._count(key, hosts, rows)

    def add(self, found: Mapping[str, int]) -> None:
        for key, number in found.items():
            self._count(key, 1, number)

    def _count(self, key: str, hosts: int, rows: int) -> None:
        self._hosts.update(key, hosts)
        self._rows.update(key, rows)
        self._distinct.update(key)

    def distinct(self) -> Bounds:
        low, high = self._distinct.get_lower_bound(DEVIATIONS), self._distinct.get_upper_bound(DEVIATIONS)
        return Bounds(round(self._distinct.get_estimate()), int(low), int(high) + 1)

    def groups(self) -> list[tuple[str, Bounds, Bounds]]:
        kept = self._hosts.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        return [(key, Bounds(estimate, low, high), self._rows_of(key)) for key, estimate, low, high in kept]

    def _rows_of(self, key: str) -> Bounds:
        rows = self._rows
        return Bounds(rows.get_estimate(key), rows.get_lower_bound(key), rows.get_upper_bound(key))


def _exactly(number: int) -> Bounds:
    return Bounds(number, number, number)


def _kept(value: str | None) -> str | None:
    """Return what is kept of a value: equal for equal values only, and never long."""
    if value is None or len(value) <= LONGEST_VALUE:
        return value
    return f"{value[:LONGEST_VALUE]}…{blake2b(value.encode(), digest_size=8).hexdigest()}"
