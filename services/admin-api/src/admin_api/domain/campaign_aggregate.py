"""A campaign's answers, added up while they come: how many hosts and rows have each value, in bounded memory.

Exact while there are few groups; from then on sketches of Apache DataSketches, whose bounds are told with each number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from admin_api.domain.campaign_distinct import Bounds, DistinctValues, exactly

if TYPE_CHECKING:
    from admin_api.domain.sketches import Sketches

MOST_GROUPS = 2_048  # per grouping; beyond them it is estimated
LONGEST_VALUE = 64  # characters; of a longer value the beginning is kept, and a hash of all of it

Grouping = tuple[str, ...]
_key_of = msgspec.json.Encoder().encode
_values_of = msgspec.json.Decoder(list[str | None]).decode


@dataclass(frozen=True)
class Group:
    """One combination of values (None: a row without that column), on how many hosts and in how many rows it is.

    `distinct` is how many values another column has in those rows; None: nobody asked.
    """

    values: tuple[str | None, ...]
    hosts: Bounds
    rows: Bounds
    distinct: Bounds | None = None


class Aggregate:
    """Adds up one grouping, and the values of `column` within its groups if there is one.

    The order of the answers makes no difference while it is exact.
    """

    def __init__(self, grouping: Grouping, column: str | None = None) -> None:
        self.grouping = grouping
        self.column = column
        self._distinct = None if column is None else DistinctValues()
        self._exact: dict[str, list[int]] = {}
        self._estimated: Sketches | None = None

    @property
    def is_exact(self) -> bool:
        """Whether nothing is estimated."""
        return self._estimated is None

    def add(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Count the rows of one host, which answers once."""
        found: dict[str, int] = {}
        values: dict[str, set[str]] = {}
        for row in rows:
            key = _key_of([_kept(row.get(column)) for column in self.grouping]).decode()
            found[key] = found.get(key, 0) + 1
            value = None if self.column is None else _kept(row.get(self.column))
            if value is not None:
                values.setdefault(key, set()).add(value)
        if self._distinct is not None:
            self._distinct.add(values)
        if self._estimated is not None:
            self._estimated.add(found)
            return
        for key, number in found.items():
            counts = self._exact.setdefault(key, [0, 0])
            counts[0] += 1
            counts[1] += number
        if len(self._exact) > MOST_GROUPS:
            from admin_api.domain.sketches import Sketches  # noqa: PLC0415 - it takes 21 MB, which few ever need

            self._estimated = Sketches(self._exact)
            self._exact = {}

    def distinct(self) -> Bounds:
        """Return how many groups there are."""
        if self._estimated is not None:
            return self._estimated.distinct()
        return exactly(len(self._exact))

    def top(self, most: int) -> list[Group]:
        """Return the groups on the most hosts, then with the most rows, then by value."""
        if self._estimated is not None:
            found = self._estimated.groups()
        else:
            found = [(key, exactly(hosts), exactly(rows)) for key, (hosts, rows) in self._exact.items()]
        found.sort(key=lambda one: (-one[1].estimate, -one[2].estimate, one[0]))
        return [
            Group(tuple(_values_of(key)), hosts, rows, None if self._distinct is None else self._distinct.of(key, rows))
            for key, hosts, rows in found[:most]
        ]


def _kept(value: str | None) -> str | None:
    """Return what is kept of a value: equal for equal values only, and never long."""
    if value is None or len(value) <= LONGEST_VALUE:
        return value
    return f"{value[:LONGEST_VALUE]}…{blake2b(value.encode(), digest_size=8).hexdigest()}"
