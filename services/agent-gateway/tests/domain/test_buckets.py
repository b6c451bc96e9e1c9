"""Buckets: what each key may, and that nobody pays for another or fills the memory."""

from __future__ import annotations

from agent_gateway.domain.buckets import Buckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken_at_once(buckets: Buckets[int], key: int, most: int = 1000) -> int:
    """Take one unit after the other until one is refused."""
    return next((count for count in range(most) if not buckets.take(key)), most)


def test_a_key_may_take_its_burst_at_once_and_up_to_half_of_it_more_when_nobody_was_watched_before() -> None:
    buckets: Buckets[int] = Buckets(1, 10, clock=Clock())

    assert 10 <= taken_at_once(buckets, 1) <= 15
    assert 10 <= taken_at_once(buckets, 2) <= 15


def test_a_bucket_fills_at_its_rate() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets(2, 10, clock=clock)
    taken_at_once(buckets, 1)

    clock.now += 1.5

    assert taken_at_once(buckets, 1) == 3


def test_in_the_long_run_a_key_gets_its_rate() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets(4, 8, clock=clock)
    taken = 0
    for _ in range(10_000):
        clock.now += 0.125
        taken += buckets.take(1, 2)

    assert 2 * taken / (10_000 * 0.125) == 4.0 or abs(2 * taken - 4 * 1250) <= 16


def test_what_is_larger_than_the_burst_is_let_in_and_waited_for() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets(1, 10, clock=clock)

    assert buckets.take(1, 10_000)
    assert buckets.is_spent(1)
    assert not buckets.take(1)
    clock.now += 11
    assert not buckets.is_spent(1)
    assert buckets.take(1)


def test_a_refused_taking_costs_nothing() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets(1, 10, clock=clock)
    taken_at_once(buckets, 1)
    for _ in range(1000):
        assert not buckets.take(1)

    clock.now += 1.001

    assert buckets.take(1)


def test_a_neighbour_is_not_hit() -> None:
    buckets: Buckets[int] = Buckets(1, 10, clock=Clock())
    taken_at_once(buckets, 1)

    assert buckets.is_spent(1)
    assert not buckets.is_spent(2)
    assert buckets.take(2)


def test_nothing_is_kept_while_all_together_stay_below_what_one_may() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets(1000, 10_000, clock=clock)
    for key in range(5000):
        clock.now += 0.001
        assert buckets.take(key)

    assert len(buckets) == 0
    assert not buckets.any_spent()


def test_a_million_keys_take_no_more_than_the_capacity_twice() -> None:
    buckets: Buckets[int] = Buckets(1, 10, capacity=1000, clock=Clock())
    for key in range(1_000_000):
        buckets.take(key)

    assert len(buckets) <= 2000


def test_who_has_had_his_share_is_remembered_while_others_come_and_go() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets(1, 10, clock=clock)
    buckets.take(1, 19)
    for key in range(2, 2000):
        clock.now += 0.004
        buckets.take(key)

    assert buckets.is_spent(1)
    clock.now += 2
    assert not buckets.is_spent(1)


def test_a_rate_of_zero_sets_no_limit() -> None:
    buckets: Buckets[int] = Buckets(0, 0, clock=Clock())

    assert taken_at_once(buckets, 1) == 1000
    assert not buckets.any_spent()
