"""Adding up answers: exact whatever the order and the batches, and bounded with true bounds beyond."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc
from collections import Counter

import pytest
from admin_api.domain.campaign_aggregate import LONGEST_VALUE, MOST_GROUPS, Aggregate
from admin_api.domain.campaign_aggregates import (
    MOST_KEPT,
    MOST_OWN,
    SIGHT_KEPT_SECONDS,
    Asker,
    CampaignAggregates,
)
from admin_api.domain.campaign_distinct import Bounds
from admin_api.domain.sketches import SKETCH_LOG
from admin_api.store.campaign_rows import START, RowsEntry
from flotilla_common.errors import Unavailable
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

VALUES = st.sampled_from(["1.0", "2.0", "", "ü", "x" * 100, "x" * 101])
ANSWERS = st.lists(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES), max_size=5), max_size=12)
KEY = (1, (("a",), ("a", "b")), None, None)


def shown(aggregate: Aggregate) -> list[object]:
    return [aggregate.distinct(), aggregate.top(10_000)]


def added_up(answers, *grouping: str) -> Aggregate:
    aggregate = Aggregate(grouping)
    for rows in answers:
        aggregate.add(rows)
    return aggregate


def entries_of(answers) -> list[RowsEntry]:
    return [
        RowsEntry(f"{number + 1}-0", host_id=number + 1, outcome="answered", rows=json.dumps(rows).encode())
        for number, rows in enumerate(answers)
    ]


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_answers_makes_no_difference(answers, chance):
    shuffled = random.Random(chance.random()).sample(answers, len(answers))

    assert shown(added_up(answers, "a", "b")) == shown(added_up(shuffled, "a", "b"))


@given(ANSWERS)
def test_each_value_has_its_hosts_and_its_rows(answers):
    rows = Counter(row.get("a") for host in answers for row in host)
    hosts = Counter(value for host in answers for value in {row.get("a") for row in host})

    groups = added_up(answers, "a").top(100)

    assert sorted(group.rows.estimate for group in groups) == sorted(rows.values())
    assert sorted(group.hosts.estimate for group in groups) == sorted(hosts.values())
    short = {group.values[0]: group.hosts.estimate for group in groups if len(group.values[0] or "") <= LONGEST_VALUE}
    assert short == {value: number for value, number in hosts.items() if len(value or "") <= LONGEST_VALUE}


@given(ANSWERS, st.lists(st.integers(1, 3), min_size=1), st.integers(0, 12))
async def test_going_on_after_any_read_gives_what_one_pass_gives(answers, sizes, first):
    entries, known = entries_of(answers), CampaignAggregates()

    async def read(position, upto):
        start = int(position.split("-")[0])
        return entries[start : min(start + sizes[start % len(sizes)], upto)]

    await known.current(KEY, Asker(1, None), lambda position: read(position, first))
    tally = await known.current(KEY, Asker(1, None), lambda position: read(position, len(entries)))

    assert [shown(one) for one in tally.aggregates] == [shown(added_up(answers, *grouping)) for grouping in KEY[1]]
    assert (tally.hosts, tally.rows) == (len(answers), sum(map(len, answers)))


async def test_a_host_that_leaves_the_sight_takes_its_values_along():
    entries, known = entries_of([[{"a": "own"}], [{"a": "gone"}], [{"a": "foreign"}]]), CampaignAggregates()

    async def read(position):
        return entries[int(position.split("-")[0]) :]

    before = await known.current((1, (("a",),), frozenset({1}), None), Asker(1, BitMap64([1, 2])), read)
    seen_before = {group.values[0] for group in before.aggregates[0].top(9)}
    after = await known.current((1, (("a",),), frozenset({1}), None), Asker(1, BitMap64([1])), read)

    assert seen_before == {"own", "gone"}
    assert {group.values[0] for group in after.aggregates[0].top(9)} == {"own"}
    assert (after.hosts, after.rows) == (1, 1)


async def test_too_much_for_one_request_is_said_and_gone_on_with(monkeypatch):
    monkeypatch.setattr("admin_api.domain.campaign_aggregates.SCAN_SECONDS", 0.0)
    entries, known = entries_of([[{"a": "1"}], [{"a": "2"}]]), CampaignAggregates()

    async def read(position):
        start = int(position.split("-")[0])
        return entries[start : start + 1]

    states = []
    for _ in range(3):
        tally = await known.current(KEY, Asker(1, None), read)
        states.append((tally.hosts, tally.is_behind))

    assert states == [(1, True), (2, True), (2, False)]


async def nothing(_position) -> list[RowsEntry]:
    return []


def looker(known):
    """Ask for a campaign's aggregate."""

    async def ask(campaign: int, person: int = 1, *, stays: bool = False) -> None:
        await known.current((campaign, (("a",),), None, None), Asker(person, None, stays=stays), nothing)

    return ask


async def test_aggregates_in_use_are_not_pushed_out_and_idle_ones_are(monkeypatch):
    known = CampaignAggregates()
    ask = looker(known)
    for campaign in range(MOST_KEPT):
        await ask(campaign, campaign, stays=True)
    with pytest.raises(Unavailable, match="other aggregates are in use"):
        await ask(MOST_KEPT, MOST_KEPT)
    await ask(0)
    monkeypatch.setattr("admin_api.domain.campaign_aggregates.IN_USE_SECONDS", 0.0)
    await ask(MOST_KEPT, MOST_KEPT)

    assert kept_of(known) == {0, *range(2, MOST_KEPT + 1)}


def kept_of(known) -> set[int]:
    return {campaign for campaign, *_ in known._kept}


async def test_who_asks_for_many_once_pushes_out_own_ones_and_locks_nobody_out():
    known = CampaignAggregates()
    ask = looker(known)
    await ask(100, person=2)
    for campaign in range(2 * MOST_KEPT):
        await ask(campaign, person=1)
    await ask(101, person=3)

    assert {100, 101, 2 * MOST_KEPT - 1} <= kept_of(known)
    assert len(kept_of(known)) == MOST_KEPT


async def test_one_person_has_a_few_in_use_at_most_and_others_have_theirs():
    known = CampaignAggregates()
    ask = looker(known)
    for campaign in range(MOST_OWN):
        await ask(campaign, person=1, stays=True)
    with pytest.raises(Unavailable, match="of yours are in use"):
        await ask(MOST_OWN, person=1)
    await ask(MOST_OWN, person=2, stays=True)
    await ask(0, person=1, stays=True)

    assert kept_of(known) == set(range(MOST_OWN + 1))


async def test_a_sight_that_is_older_than_the_one_that_counts_begins_nothing_anew():
    entries, known, reads = entries_of([[{"a": "own"}], [{"a": "gone"}]]), CampaignAggregates(), []
    key = (1, (("a",),), frozenset({1}), None)

    async def read(position):
        reads.append(position)
        return entries[int(position.split("-")[0]) :]

    old, new = Asker(1, BitMap64([1, 2]), since=10.0, stays=True), Asker(2, BitMap64([1]), since=11.0)
    sums = [(await known.current(key, asker, read)).hosts for asker in (old, new, old, new, old)]

    assert sums == [2, 1, 1, 1, 1]
    assert reads.count(START) == 2


async def test_a_count_that_takes_several_requests_ends_though_hosts_come_and_go(monkeypatch):
    monkeypatch.setattr("admin_api.domain.campaign_aggregates.SCAN_SECONDS", 0.0)
    entries, known = entries_of([[{"a": str(number)}] for number in range(6)]), CampaignAggregates()
    key = (1, (("a",),), frozenset({1}), None)

    async def read(position):
        start = int(position.split("-")[0])
        return entries[start : start + 1]

    states = []
    for turn in range(8):
        sight = BitMap64([1, 2, 3, 4, 5, 6]) - BitMap64([turn % 3 + 1])
        tally = await known.current(key, Asker(1, sight, since=100.0 + turn), read)
        states.append((tally.hosts, tally.is_behind))
    later = Asker(1, BitMap64([2]), since=100.0 + 7 + SIGHT_KEPT_SECONDS)
    after = await known.current(key, later, read)

    assert states[:7] == [(0, True), (1, True), (2, True), (3, True), (4, True), (5, True), (5, False)]
    assert states[7] == (1, True)
    assert (after.hosts, after.position) == (0, "1-0")


async def test_the_event_loop_goes_on_while_many_rows_are_counted():
    rows = [{"a": str(number), "b": "x", "c": str(number % 7)} for number in range(20_000)]
    entries = entries_of([rows] * 6)
    groupings = (("a",), ("a", "b"), ("c",), ("b", "c"))
    turns = 0

    async def read(position):
        return entries[int(position.split("-")[0]) :]

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    task = asyncio.create_task(turn())
    before = turns
    counting = asyncio.create_task(CampaignAggregates().current((1, groupings, None, None), Asker(1, None), read))
    tally = await counting
    task.cancel()

    assert (tally.hosts, tally.rows) == (6, 120_000)
    assert turns - before > 20  # one, if the loop stood still


async def test_who_goes_away_meanwhile_leaves_no_answer_half_counted():
    rows = [{"a": str(number)} for number in range(5_000)]
    entries, known, began = entries_of([rows] * 4), CampaignAggregates(), asyncio.Event()

    async def read(position):
        began.set()
        return entries[int(position.split("-")[0]) :]

    gone = asyncio.create_task(known.current(KEY, Asker(1, None), read))
    await began.wait()
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    tally = await known.current(KEY, Asker(1, None), read)

    assert (tally.hosts, tally.rows) == (4, 20_000)


def test_the_bounds_hold_when_there_are_too_many_groups():
    chance = random.Random(7)
    truth: Counter[str] = Counter()
    aggregate = Aggregate(("a",))
    for host in range(20_000):
        values = {"common", f"only-{host}", f"some-{chance.randrange(200)}"}
        truth.update(values)
        aggregate.add({"a": value} for value in values)

    distinct, top = aggregate.distinct(), aggregate.top(100)

    assert not aggregate.is_exact
    assert distinct.at_least <= len(truth) <= distinct.at_most
    assert top[0].values == ("common",)
    for group in top:
        assert group.hosts.at_least <= truth[group.values[0] or ""] <= group.hosts.at_most
        assert group.hosts.at_most - group.hosts.at_least <= 3.5 / 2**SKETCH_LOG * truth.total()


@pytest.mark.parametrize("length", [10, 20_000])
def test_hostile_rows_leave_the_memory_bounded(length):
    tracemalloc.start()
    aggregate = Aggregate(("a", "b", "c"))
    for number in range(3 * MOST_GROUPS if length > 1_000 else 20 * MOST_GROUPS):
        value = f"{number}{'💥' * length}"
        aggregate.add([{"a": value, "b": value, "c": value, str(number): value}])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 8 * 1024 * 1024
    assert all(len(value or "") <= LONGEST_VALUE + 17 for group in aggregate.top(200) for value in group.values)


def test_values_with_the_same_beginning_stay_apart():
    groups = added_up([[{"a": "x" * 1000 + "1"}], [{"a": "x" * 1000 + "2"}], [{}]], "a").top(9)

    assert len({group.values for group in groups}) == 3
    assert {group.hosts for group in groups} == {Bounds(1, 1, 1)}
