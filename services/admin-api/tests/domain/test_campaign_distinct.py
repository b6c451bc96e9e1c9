"""How many values another column has within each group: exact, then bounded with true bounds."""

from __future__ import annotations

import random
import tracemalloc
from collections import defaultdict

import pytest
from admin_api.domain import campaign_distinct
from admin_api.domain.campaign_aggregate import Aggregate
from admin_api.domain.campaign_aggregates import Asker, CampaignAggregates
from admin_api.domain.campaign_distinct import MOST_SKETCHES, MOST_VALUES, Bounds, DistinctValues
from admin_api.store.campaign_rows import RowsEntry
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

VALUES = st.sampled_from(["1.0", "2.0", "", "ü", "x" * 100, "x" * 101])
ANSWERS = st.lists(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), VALUES), max_size=5), max_size=12)


def counts_of(aggregate: Aggregate, most: int = 10_000) -> dict[str | None, Bounds | None]:
    return {group.values[0]: group.distinct for group in aggregate.top(most)}


@given(ANSWERS)
def test_each_group_has_its_number_of_values_and_rows_without_the_column_have_none(answers):
    aggregate, truth = Aggregate(("a",), "b"), defaultdict(set)
    for rows in answers:
        aggregate.add(rows)
        for row in rows:
            truth[row.get("a")] |= {row["b"]} if "b" in row else set()

    counts = counts_of(aggregate)

    assert sorted(count.estimate for count in counts.values()) == sorted(map(len, truth.values()))
    assert all(count.at_least == count.estimate == count.at_most for count in counts.values())


def test_who_does_not_ask_for_a_column_gets_no_number():
    aggregate = Aggregate(("a",))
    aggregate.add([{"a": "1", "b": "2"}])

    assert counts_of(aggregate) == {"1": None}


def test_the_bounds_hold_when_there_are_too_many_values():
    chance = random.Random(11)
    truth, aggregate = defaultdict(set), Aggregate(("a",), "b")
    for host in range(20_000):
        group = f"group-{chance.randrange(50)}"
        rows = [{"a": group, "b": f"{chance.randrange(1 << 40)}"}, {"a": "same", "b": f"{host % 3}"}]
        aggregate.add(rows)
        for row in rows:
            truth[row["a"]].add(row["b"])

    counts = counts_of(aggregate)

    assert aggregate.is_exact  # the groups are, their values are not
    assert counts["same"] == Bounds(3, 3, 4)
    held = [counts[group].at_least <= len(values) <= counts[group].at_most for group, values in truth.items()]
    assert sum(held) >= 0.9 * len(held)  # with about 95 %
    assert all(0.8 < counts[group].estimate / len(values) < 1.2 for group, values in truth.items())


def test_a_group_that_was_forgotten_for_a_while_has_no_upper_bound_but_its_rows(monkeypatch):
    monkeypatch.setattr(campaign_distinct, "MOST_VALUES", 4)
    monkeypatch.setattr(campaign_distinct, "MOST_SKETCHES", 4)
    distinct, rows = DistinctValues(), Bounds(90, 90, 90)
    for _ in range(9):
        distinct.add({"often": {"1", "2", "3", "4", "5"}})
    for group in ("b", "c", "d", "e"):  # there is no room for the last one until half of them go
        distinct.add({group: {"1"}})
    gone = distinct.of("b", rows)
    distinct.add({"b": {"2", "3"}})

    assert (distinct.of("often", rows).at_least, distinct.of("often", rows).at_most) == (5, 6)
    assert gone == Bounds(0, 0, 90)
    assert (distinct.of("b", rows).at_least, distinct.of("b", rows).at_most) == (2, 90)


def test_there_are_no_more_values_than_rows():
    distinct = DistinctValues()
    distinct.add({"many": {str(number) for number in range(MOST_VALUES + 1)}})

    assert distinct.of("many", Bounds(9_000, 9_000, 8_200)).at_most == 8_200


def test_hostile_values_leave_the_memory_bounded():
    tracemalloc.start()
    distinct = DistinctValues()
    for number in range(20 * MOST_SKETCHES):
        distinct.add({f"{number}{'x' * 200}": {f"{number}-{part}{'💥' * 64}" for part in range(8)}})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 8 * 1024 * 1024
    assert len(distinct._sketches) <= MOST_SKETCHES


@pytest.mark.parametrize("column", ["b", "c"])
async def test_columns_are_counted_apart_and_a_host_that_leaves_the_sight_takes_its_values_along(column):
    rows = [b'[{"a":"x","b":"1","c":"7"}]', b'[{"a":"x","b":"2","c":"7"}]']
    entries = [RowsEntry(f"{host}-0", host_id=host, outcome="answered", rows=rows[host - 1]) for host in (1, 2)]
    known = CampaignAggregates()

    async def read(position):
        return entries[int(position.split("-")[0]) :]

    key = (1, (("a",),), frozenset({1}), column)
    before = counts_of((await known.current(key, Asker(1, BitMap64([1, 2])), read)).aggregates[0])
    after = counts_of((await known.current(key, Asker(1, BitMap64([1])), read)).aggregates[0])

    assert before["x"].estimate == {"b": 2, "c": 1}[column]
    assert after["x"].estimate == 1
