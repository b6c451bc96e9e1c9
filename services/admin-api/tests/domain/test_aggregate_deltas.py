"""A viewer that takes the whole once and then every delta has what is there."""

from __future__ import annotations

from typing import Any

from admin_api.domain.aggregate_deltas import delta
from admin_api.domain.campaign_aggregates import Tally
from admin_api.routes.campaign_aggregates import tally_object
from hypothesis import given
from hypothesis import strategies as st

from .test_campaign_aggregate import ANSWERS, KEY, added_up


def followed(shown: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Do what docs/live-queries.md tells viewers to do."""
    groupings = [dict(grouping) for grouping in shown["groupings"]]
    for change in changes["groupings"]:
        one = groupings[change["number"]]
        named = {str(group["values"]): group for group in (*one["top"], *change["changed"])}
        for values in change["gone"]:
            del named[str(values)]
        assert len(named) == change["shown"]
        one |= {"exact": change["exact"], "distinct": change["distinct"], "top": list(named.values())}
    return {**changes, "groupings": groupings}


def unordered(shown: dict[str, Any]) -> dict[str, Any]:
    groupings = [{**one, "top": sorted(one["top"], key=str)} for one in shown["groupings"]]
    return {**shown, "groupings": groupings}


@given(ANSWERS, st.lists(st.integers(0, 12), max_size=6), st.integers(1, 4))
def test_the_whole_and_all_deltas_are_what_is_counted_from_scratch(answers, moments, top):
    def at(number: int) -> dict[str, Any]:
        sums = [added_up(answers[:number], *grouping) for grouping in KEY[1]]
        return tally_object(Tally(sums, None, 0.0, 1, hosts=len(answers[:number])), top)

    shown = told = at(0)
    for moment in [*sorted(moments), len(answers)]:
        now = at(moment)
        changes = delta(told, now)
        shown = shown if changes is None else followed(shown, changes)
        told = now

    assert unordered(shown) == unordered(at(len(answers)))


def test_nothing_is_told_where_nothing_changed_and_only_the_grouping_that_did():
    sums = [added_up([[{"a": "1"}]], "a"), added_up([[{"a": "1"}]], "b")]
    before = tally_object(Tally(sums, None, 0.0, 1), 9)
    after = tally_object(Tally([added_up([[{"a": "2"}]], "a"), sums[1]], None, 0.0, 1), 9)

    assert delta(before, before) is None
    [change] = (delta(before, after) or {})["groupings"]
    assert (change["number"], change["gone"]) == (0, [{"a": "1"}])
    assert [group["values"] for group in change["changed"]] == [{"a": "2"}]
