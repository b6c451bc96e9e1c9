"""The aggregates that people asked for lately: whoever sees the same hosts shares one, which goes on where it was."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

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
MOST_OWN = 3  # in use by one person
SCAN_SECONDS = 5.0  # after which a request is answered with what was counted so far
SIGHT_KEPT_SECONDS = 60.0  # by a count that takes several requests: begun anew at each change it would never end

Key = tuple[int, tuple[Grouping, ...], VisibleTeams, str | None]
"""Campaign, groupings, whose hosts, and the column whose values are counted within groups, if there is one."""
ReadAfter = Callable[[str], Awaitable[list[RowsEntry]]]
"""Returns the next answers behind a position, none at the end; it does not wait for more."""


@dataclass(frozen=True)
class Asker:
    """Who asks for an aggregate.

    `sight`: the hosts that may be seen, as it was at `since` on `time.monotonic` (None: all, deleted ones too).
    `stays`: asks each second, and needs it kept; others ask once.
    """

    person: int
    sight: BitMap64 | None
    since: float = field(default_factory=time.monotonic)
    stays: bool = False


@dataclass
class Tally:
    """All that was added up of one campaign for those who see the same hosts.

    `hosts`: hosts whose answers are counted, `rows`: their rows; `missing`: answers that are lost, at most; `read`: all
    hosts whose answers were read, `sight`: those that may be counted (None: all), as it was at `since`. `is_behind`:
    answers wait that are not counted yet. `person`: who asked last. `used`: when somebody last did who goes on asking.
    Times are of `time.monotonic`.
    """

    aggregates: list[Aggregate]
    sight: BitMap64 | None
    since: float
    person: int
    position: str = START
    hosts: int = 0
    rows: int = 0
    missing: int = 0
    is_behind: bool = False
    used: float = -IN_USE_SECONDS
    read: BitMap64 = field(default_factory=BitMap64)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_used(self, now: float) -> bool:
        """Whether somebody would miss it."""
        return self.lock.locked() or now - self.used < IN_USE_SECONDS

    def show(self, asker: Asker) -> None:
        """Make it true for who asks: no value of a host that left their sight may stay.

        All who share it see the same teams, so whoever looked last knows best. What is not all counted yet keeps its
        sight for a while.
        """
        if asker.since <= self.since or (self.is_behind and asker.since - self.since < SIGHT_KEPT_SECONDS):
            return
        if not self._fits(asker.sight):
            self.start_again()
        self.sight, self.since = asker.sight, asker.since

    def _fits(self, sight: BitMap64 | None) -> bool:
        if self.sight is None or sight is None:
            return self.sight is sight
        return self.sight & self.read == sight & self.read

    def count_all(self, entries: list[RowsEntry]) -> None:
        """Take answers into account."""
        for entry in entries:
            self.count(entry)

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


async def _never() -> bool:
    return False


class CampaignAggregates:
    """Keeps the aggregates of this process; another process has its own, from the same answers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Tally] = OrderedDict()

    async def current(
        self, key: Key, asker: Asker, read: ReadAfter, are_removed: Callable[[], Awaitable[bool]] = _never
    ) -> Tally:
        """Return the aggregate with the answers up to now, or `is_behind` if there were too many to read at once.

        Of results that are kept no longer nothing stays, whatever was counted before.

        It is true until the caller next waits for anything: others go on with it then.

        Raises:
            Unavailable: the answers cannot be read now, what was counted stays; or too many others are in use.

        """
        tally = self._of(key, asker)
        async with tally.lock:
            tally.show(asker)
            await _catch_up(read, tally)
            if await are_removed():
                tally.start_again()
        return tally

    def _of(self, key: Key, asker: Asker) -> Tally:
        now = time.monotonic()
        tally = self._kept.get(key)
        if tally is None:
            self._make_room(asker.person, now)
            aggregates = [Aggregate(grouping, key[3]) for grouping in key[1]]
            tally = self._kept[key] = Tally(aggregates, asker.sight, asker.since, asker.person)
        tally.person = asker.person
        if asker.stays:
            tally.used = now
        self._kept.move_to_end(key)
        return tally

    def _make_room(self, person: int, now: float) -> None:
        """Forget one that nobody uses, of whoever has the most of those: nobody pushes others out by asking for many.

        One in use is not pushed out: its viewers would add it up anew each second.
        """
        if sum(one.person == person and one.is_used(now) for one in self._kept.values()) >= MOST_OWN:
            raise Unavailable(f"{MOST_OWN} other aggregates of yours are in use")
        if len(self._kept) < MOST_KEPT:
            return
        idle = {key: tally.person for key, tally in self._kept.items() if not tally.is_used(now)}
        if not idle:
            raise Unavailable(f"{MOST_KEPT} other aggregates are in use")
        owned = Counter(idle.values())
        del self._kept[max(idle, key=lambda key: owned[idle[key]])]  # the oldest of several


async def _catch_up(read: ReadAfter, tally: Tally) -> None:
    until = time.monotonic() + SCAN_SECONDS
    while entries := await read(tally.position):
        tally.is_behind = True
        await _in_thread(partial(tally.count_all, entries))
        if time.monotonic() >= until:
            return
    tally.is_behind = False


async def _in_thread(count: Callable[[], None]) -> None:
    """Count beside the event loop, to the end of these answers also when the caller is cancelled: none is half counted.

    A few answers can have a hundred thousand rows.
    """
    work = asyncio.ensure_future(asyncio.to_thread(count))
    try:
        await asyncio.shield(work)
    finally:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):  # the first one goes on its way
                await asyncio.wait([work])


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
