"""Bitmaps of seen hosts stay bounded and each host keeps its newest time."""

from datetime import UTC, datetime, timedelta

from inventory.domain.seen_hosts import COMPACT_AT, SeenHosts
from pyroaring import BitMap

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_a_host_seen_twice_is_taken_once_with_its_newest_time():
    seen = SeenHosts()
    seen.add(BitMap([1, 2]), NOON + timedelta(seconds=10))
    seen.add(BitMap([2, 3]), NOON)

    taken = seen.take()

    assert taken == [(NOON + timedelta(seconds=10), BitMap([1, 2])), (NOON, BitMap([3]))]
    assert seen.take() == []


def test_what_could_not_be_written_comes_again():
    seen = SeenHosts()
    seen.add(BitMap([1]), NOON)
    seen.give_back(seen.take())

    assert seen.take() == [(NOON, BitMap([1]))]


def test_a_long_outage_keeps_each_host_once():
    seen = SeenHosts()
    for second in range(COMPACT_AT * 10):
        seen.add(BitMap(range(100)), NOON + timedelta(seconds=second))

    assert len(seen) <= 100 * COMPACT_AT
    assert sum(len(hosts) for _, hosts in seen.take()) == 100
