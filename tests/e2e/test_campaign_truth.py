"""The judge of the fault run: it finds what is lost, doubled, mixed up or counted wrongly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .campaign_hosts import Answer, Asked, Record
from .campaign_truth import Seen, possible, wrong_hosts, wrong_sums, wrong_views

ASKED = Asked(7, frozenset({"a", "b"}), closed_from=100.0, closed_by=101.0)
NAMES = {1: "a", 2: "b", 3: "c"}
ENTRY = {"state": "answered", "row_count": 2, "truncated": False, "error": None}
ANSWER = Answer(7, "a 7 1", rows=2, began=1.0, taken=2.0)


def told(began: float, taken: float | None) -> Answer:
    return Answer(7, f"{began}", rows=1, began=began, taken=taken)


@pytest.mark.parametrize(
    ("given", "may", "nothing"),
    [
        ([], [], True),
        ([(1, 2)], [1], False),
        ([(1, 2), (3, 4)], [1], False),
        ([(1, None), (3, 4), (5, 6)], [1, 3], False),
        ([(1, None)], [1], True),
        ([(99, 102)], [99], True),
        ([(102, 103)], [], True),
        ([(50, 51), (55, 56)], [50, 55], False),  # the first one was held up
    ],
)
def test_the_first_that_was_surely_taken_counts_or_one_before_it(given, may, nothing):
    found = possible([told(*times) for times in given], ASKED, lambda taken: 50 <= taken <= 60)

    assert [answer.began for answer in found.answers] == may
    assert found.nothing is nothing


@pytest.fixture
def record() -> Record:
    found = Record("seed")
    found.answers[7, "a"] = [ANSWER]
    return found


@pytest.fixture
def seen() -> Seen:
    """One host has answered with two rows, the other one never came."""
    cancelled = {"state": "cancelled", "row_count": 0, "truncated": False, "error": None}
    result = {"host": {"id": 1}, "rows": [row | {"host_hostname": "a"} for row in ANSWER.content()]}
    counts = {"targeted": 2, "answered": 1, "cancelled": 1, "pending": 0, "offered": 0}
    return Seen(counts, {1: ENTRY, 2: cancelled}, {1: ANSWER.content()}, [[result], [result]])


def faults(record: Record, seen: Seen) -> list[str]:
    hosts = wrong_hosts(record, ASKED, seen, NAMES, {}, lambda _: False)
    return [*hosts, *wrong_sums(seen), *wrong_views(seen)]


def test_what_is_as_it_must_be_is_not_complained_of(record, seen):
    assert faults(record, seen) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": {1: ANSWER.content()[:1]}},
        {"rows": {1: ANSWER.content() * 2}},
        {"rows": {1: Answer(7, "a 7 2", rows=2).content()}},
        {"rows": {1: ANSWER.content(), 3: ANSWER.content()}},
        {"ledger": {1: ENTRY}},
        {"ledger": {1: ENTRY, 2: ENTRY}},
        {"ledger": {1: ENTRY | {"row_count": 1}, 2: {**ENTRY, "state": "cancelled", "row_count": 0}}},
        {"ledger": {1: ENTRY, 2: {**ENTRY, "state": "expired", "row_count": 0}}},
        {"counts": {"targeted": 2, "answered": 2, "cancelled": 0}},
        {"counts": {"targeted": 3, "answered": 1, "cancelled": 1}},
    ],
)
def test_what_is_lost_doubled_or_miscounted_is_found(record, seen, changed):
    assert faults(record, replace(seen, **changed))


@pytest.mark.parametrize("views", [[[], []], [[0], []], [[0], [0, 0]], [[1], [1]], [[0], [2]]])
def test_viewers_who_saw_less_more_or_something_else_are_found(record, seen, views):
    [[result], _] = seen.viewers
    results = [result, {"host": {"id": 2}, "rows": []}, result | {"rows": result["rows"][:1]}]

    assert faults(record, replace(seen, viewers=[[results[number] for number in view] for view in views]))
