"""The aggregates that people asked for lately: whoever sees the same hosts shares one, which goes on where it was."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flotilla_common.errors import Unavailable
from pyroaring import BitMap64

from admin_api.domain.campaign_aggregate import Aggregate, Grouping
from admin_api.domain.campaign_progress import ANSWERED, rows_of
from admin_api.errors import InvalidArgument
from admin_api.store.campaign_rows import START, RowsEntry
from admin_api.store.host_scope import VisibleTeams

MOST_GROUPINGS = 4
MOST_COLUMNS = 3
LONGEST_COLUMN = 128  # characters
MOST_KEPT = 8  # aggregates in memory; one that was forgotten is added up again from the first answer
IN_USE_SECONDS = 10.0  # without being asked for, after which an aggregate gives way to another one
SCAN_SECONDS = 5.0  # after which a request is answered with what was counted so far

Key = tuple[int, tuple[Grouping, ...], VisibleTeams, str | None]
"""Campaign, groupings, whose hosts, and the column whose values are counted within groups, if there is one."""
ReadAfter = Callable[[str], Awaitable[list[RowsEntry]]]
"""Returns the next answers behind a position, none at the end; it does not wait for more."""


@dataclass
class Tally:
    """All that was added up of one campaign for those who see the same hosts.

    `hosts`: hosts whose answers are counted, `rows`: their rows; `missing`: answers that are lost, at most; `read`: all
    hosts whose answers were read, `sight`: those that may be counted (None: all). `is_behind`: answers wait that are
    not counted yet. `used`: when somebody last asked, on the clock of the event loop.
    """

    aggregates: list[Aggregate]
    sight: BitMap64 | None
    position: str = START
    hosts: int = 0
    rows: int = 0
    missing: int = 0
    is_behind: bool = False
    used: float = 0.0
    read: BitMap64 = field(default_factory=BitMap64)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def fits(self, sight: BitMap64 | None) -> bool:
        """Whether what was counted so far is what somebody with this sight may see."""
        if self.sight is None or sight is None:
            return self.sight is sight
        return self.sight & self.read == sight & self.read

    def start_again(self) -> None:
        """Forget everything that was counted."""
        self.aggregates = [Aggregate(aggregate.grouping, aggregate.column) for aggregate in self.aggregates]
        self.position, self.hosts, self.rows, self.missing, self.read = START, 0, 0, 0, BitMap64()

    def count(self, entry: RowsEntry) -> None:
        """Take an answer into account; one that failed, or of a host out of sight, counts nowhere."""
        self.position = entry.position
        if entry.missing is not None:
            self.missing += entry.missing.answers
        if entry.is_end or entry.outcome != ANSWERED or entry.error:
            return
        self.read.add(entry.host_id)
        if self.sight is not None and entry.host_id not in self.sight:
            return
        rows = rows_of(entry)
        self.hosts += 1
        self.rows += len(rows)
        for aggregate in self.aggregates:
            aggregate.add(rows)


class CampaignAggregates:
    """Keeps the aggregates of this process; another process has its own, from the same answers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Tally] = OrderedDict()

    async def current(self, key: Key, sight: BitMap64 | None, read: ReadAfter) -> Tally:
        """Return the aggregate with the answers up to now, or `is_behind` if there were too many to read at once.

        It is true until the caller next waits for anything: others go on with it then.

        Raises:
            Unavailable: the answers cannot be read now, what was counted stays; or too many others are in use.

        """
        tally = self._of(key, sight)
        async with tally.lock:
            if not tally.fits(sight):  # a host came or went meanwhile: no value of one out of sight may stay
                tally.start_again()
            tally.sight = sight
            await _catch_up(read, tally)
        return tally

    def _of(self, key: Key, sight: BitMap64 | None) -> Tally:
        now = asyncio.get_running_loop().time()
        tally = self._kept.get(key)
        if tally is None:
            self._make_room(now)
            tally = self._kept[key] = Tally([Aggregate(grouping, key[3]) for grouping in key[1]], sight)
        tally.used = now
        self._kept.move_to_end(key)
        return tally

    def _make_room(self, now: float) -> None:
        if len(self._kept) < MOST_KEPT:
            return
        oldest = next(iter(self._kept))
        if now - self._kept[oldest].used < IN_USE_SECONDS:  # its viewers would add it up anew each second
            raise Unavailable(f"{MOST_KEPT} other aggregates are in use")
        del self._kept[oldest]


async def _catch_up(read: ReadAfter, tally: Tally) -> None:
    clock = asyncio.get_running_loop().time
    until = clock() + SCAN_SECONDS
    while entries := await read(tally.position):
        for entry in entries:
            tally.count(entry)
        if clock() >= until:
            tally.is_behind = True
            return
    tally.is_behind = False


def groupings_of(texts: list[str]) -> tuple[Grouping, ...]:
    """Return the groupings that somebody asks for, each a list of columns with commas in between.

    Raises:
        InvalidArgument: there is none, or too many, or one names no column, too many, or one that is too long.

    """
    groupings = tuple(dict.fromkeys(tuple(part.strip() for part in text.split(",")) for text in texts))
    if not 1 <= len(groupings) <= MOST_GROUPINGS:
        raise InvalidArgument("group_by", f"group_by must be given 1 to {MOST_GROUPINGS} times")
    for grouping in groupings:
        if len(grouping) > MOST_COLUMNS or len(set(grouping)) < len(grouping):
            raise InvalidArgument("group_by", f"group_by must name 1 to {MOST_COLUMNS} different columns")
        if not all(0 < len(column) <= LONGEST_COLUMN for column in grouping):
            raise InvalidArgument("group_by", f"a column must have 1 to {LONGEST_COLUMN} characters")
    return groupings


def column_of(text: str | None) -> str | None:
    """Return the column whose values are to be counted within groups; None: none.

    Raises:
        InvalidArgument: it is too long.

    """
    column = (text or "").strip()
    if len(column) > LONGEST_COLUMN:
        raise InvalidArgument("column", f"a column must have 1 to {LONGEST_COLUMN} characters")
    return column or None
