"""When campaigns take too much of Redis, and of which of them something goes."""

from __future__ import annotations

import pytest
from live_query.domain.archive import ArchivePolicy
from live_query.domain.hot_memory import HotMemory

KIB, MIB = 1024, 1024 * 1024


def memory(sizes, **policy):
    found = HotMemory(ArchivePolicy(**policy))
    found.note(dict(enumerate(sizes)))
    return found


def test_without_a_limit_of_the_server_the_bound_of_all_campaigns_holds():
    just_within = memory([8 * MIB] * 20)  # of 256 MiB
    beyond = memory([8 * MIB] * 21)
    full = memory([8 * MIB] * 32)

    assert (just_within.used, just_within.is_pressed) == (0.0, False)
    assert beyond.is_pressed
    assert full.limit(pressed=True) == KIB
    full.note(dict.fromkeys(range(17), 0))
    assert full.is_relieved


def test_the_fuller_of_the_two_counts():
    found = memory([MIB], total_hot_bytes=4 * MIB)

    assert found.fullness == 0.2
    found.used = 0.9
    assert found.fullness == 0.9


@pytest.mark.parametrize(
    ("used", "least"), [(0.1, 64 * KIB), (0.59, 64 * KIB), (0.6, 16 * KIB), (0.7, 4 * KIB), (0.8, KIB), (1.3, KIB)]
)
def test_the_fuller_redis_is_the_less_an_open_campaign_keeps(used, least):
    found = memory([])
    found.used = used

    assert found.limit(pressed=True) == least
    assert found.limit(pressed=False) == 8 * MIB


def test_sizes_are_those_last_seen():
    found = memory([5, 7, 3])
    found.note({1: 1, 2: 0, 9: 8, 10: 0})

    assert found.held == 5 + 1 + 8
    assert found.known == {0, 1, 9}
    assert list(found.largest_first()) == [9, 0, 1]
    assert [found.size(number) for number in (0, 1, 2, 9)] == [5, 1, 0, 8]
