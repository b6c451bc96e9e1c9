"""Adding up answers: exact whatever the order and the batches, and bounded with true bounds beyond."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections import Counter

import pytest
from admin_api.domain.campaign_aggregate import LONGEST_VALUE, MOST_GROUPS, Aggregate
from admin_api.domain.campaign_aggregates import MOST_KEPT, CampaignAggregates
from admin_api.domain.campaign_distinct import Bounds
from admin_api.domain.sketches import SKETCH_LOG
from admin_api.store.campaign_rows import RowsEntry
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

    await known.current(KEY, None, lambda position: read(position, first))
    tally = await known.current(KEY, None, lambda position: read(position, len(entries)))

    assert [shown(one) for one in tally.aggregates] == [shown(added_up(answers, *grouping)) for grouping in KEY[1]]
    assert (tally.hosts, tally.rows) == (len(answers), sum(map(len, answers)))


async def test_a_host_that_leaves_the_sight_takes_its_values_along():
    entries, known = entries_of([[{"a": "own"}], [{"a": "gone"}], [{"a": "foreign"}]]), CampaignAggregates()

    async def read(position):
        return entries[int(position.split("-")[0]) :]

    before = await known.current((1, (("a",),), frozenset({1}), None), BitMap64([1, 2]), read)
    seen_before = {group.values[0] for group in before.aggregates[0].top(9)}
    after = await known.current((1, (("a",),), frozenset({1}), None), BitMap64([1]), read)

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
        tally = await known.current(KEY, None, read)
        states.append((tally.hosts, tally.is_behind))

    assert states == [(1, True), (2, True), (2, False)]


async def test_aggregates_in_use_are_not_pushed_out_and_idle_ones_are(monkeypatch):
    known = CampaignAggregates()

    async def read(_position):
        return []

    async def ask(campaign: int) -> None:
        await known.current((campaign, (("a",),), None, None), None, read)

    for campaign in range(MOST_KEPT):
        await ask(campaign)
    with pytest.raises(Unavailable):
        await ask(MOST_KEPT)
    await ask(0)
    monkeypatch.setattr("admin_api.domain.campaign_aggregates.IN_USE_SECONDS", 0.0)
    await ask(MOST_KEPT)

    assert {campaign for campaign, *_ in known._kept} == {0, *range(2, MOST_KEPT + 1)}


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
