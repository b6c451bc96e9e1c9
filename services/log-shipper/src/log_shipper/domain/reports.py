"""The report of one host and query: which rows it has after the next snapshot. Knows no store."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from log_shipper.domain.report_lines import Row, Snapshot

MOST_BYTES = 1024 * 1024  # of the rows of one host and query
DIGEST_BYTES = 16


class Pair(NamedTuple):
    """A query and a host."""

    query_id: int
    host_id: int


@dataclass(frozen=True)
class Rows:
    """The rows that are kept; `is_clipped`: the host sent more."""

    kept: tuple[Row, ...] = ()
    is_clipped: bool = False

    @cached_property
    def digest(self) -> bytes:
        """Return what is the same for the same rows in any order."""
        state = hashlib.blake2b(b"+" if self.is_clipped else b"-", digest_size=DIGEST_BYTES)
        for row in sorted(self.kept):
            state.update(len(row).to_bytes(4, "big") + row)
        return state.digest()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not self.kept and not self.is_clipped

    @property
    def encoded(self) -> bytes:
        """Return them as a JSON array."""
        return b"[" + b",".join(self.kept) + b"]"


NOTHING = Rows()


@dataclass
class Report:
    """What is known of a host and query. `key` is of the latest execution, 0 when there was none.

    `rows` None: they are those that are stored, and nobody has read them.
    """

    key: int = 0
    rows: Rows | None = None

    def needs_rows(self, snapshot: Snapshot) -> bool:
        """Whether the stored rows must be read before this snapshot is taken."""
        return self.rows is None and self.key == snapshot.key and not snapshot.is_whole

    def take(self, snapshot: Snapshot, cap: int) -> bool:
        """Take a snapshot; return whether it was not older than what is known.

        Rows of an execution whose others have come before are added to those. A host sends a batch once more when the
        answer was lost, so a row that is there already is added only as far as the batch has it more often.
        """
        if snapshot.key < self.key:
            return False
        if snapshot.key > self.key or snapshot.is_whole:
            self.rows = clipped(snapshot.rows, cap)
        else:
            known = self.rows or NOTHING
            found = clipped(merged(known.kept, snapshot.rows), cap)
            self.rows = Rows(found.kept, found.is_clipped or known.is_clipped)
        self.key = snapshot.key
        return True


def merged(known: Sequence[Row], more: Sequence[Row]) -> list[Row]:
    """Return the known rows and those of the others that are not among them, each as often as either has it."""
    left = Counter(known)
    found = list(known)
    for row in more:
        if left[row]:
            left[row] -= 1
        else:
            found.append(row)
    return found


def clipped(rows: Iterable[Row], cap: int) -> Rows:
    """Return as many rows, from the first on, as one host may have of a query."""
    kept: list[Row] = []
    size = 2
    for row in rows:
        size += len(row) + 1
        if len(kept) == cap or size > MOST_BYTES:
            return Rows(tuple(kept), is_clipped=True)
        kept.append(row)
    return Rows(tuple(kept))
