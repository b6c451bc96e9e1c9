"""Log lines of five hundred hosts while every part they pass is killed, paused or cut off in turn: none is lost.

One run with a stack of its own, looked at from several sides. `FLOTILLA_FAULT_SEED` repeats a plan, which is printed
when a test fails; `FLOTILLA_LOG_FAULT_SECONDS=600` has round follow round for so long.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flotilla_stack.testing import RunningStack

from . import people
from .log_books import STATES
from .log_places import Place
from .log_plan import SECONDS, LogPlan, chosen_log_plan
from .log_setting import BURYING, LAGGING, setting_of, write_declared
from .log_storm import HOSTS, Outcome, Storm

pytestmark = pytest.mark.timeout(600 + float(os.environ.get(SECONDS) or 0))  # on a machine that others keep busy

SOME = 10  # faults that are shown
WINDOW = "0.001"  # of the stream's 2 GiB: what everybody has is purged, but for what replays are of
REFUSING = frozenset({"hook", "search"})


async def rage(stack: RunningStack, plan: LogPlan, rotated: Path) -> Outcome:
    dev = stack.dev()
    async with (
        people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin,
        setting_of(stack, rotated) as setting,
    ):
        return await Storm(stack, admin, plan, setting).run()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """What is left of one run."""
    directory = tmp_path_factory.mktemp("logs")
    declared, rotated = directory / "destinations.yaml", directory / "rotated"
    write_declared(declared, rotated)
    environment = {"FLOTILLA_DESTINATIONS_CONFIG": str(declared), "FLOTILLA_REPLAY_WINDOW": WINDOW}
    with RunningStack(directory / "flotilla", "--without-simulator", environment=environment) as stack:
        found = asyncio.run(rage(stack, chosen_log_plan(), rotated))
    lost = sum(len(missing(found, place)) for place in found.places.values())
    duplicates = sum(row["duplicates"] for rows in found.books.values() for row in rows)
    found.story.append(f"lost = {lost}, duplicates = {duplicates}")
    yield found
    sys.stdout.write(f"\n{found.plan}: {found.story[-1]}\n")


@pytest.fixture(autouse=True)
def story_is_told(outcome: Outcome) -> None:
    """Show the plan and what happened with each failure."""
    sys.stdout.write("\n".join([str(outcome.plan), *outcome.story, ""]))


def missing(outcome: Outcome, place: Place) -> set[str]:
    """Return acknowledged lines that are neither in a place that wants them nor among its dead letters."""
    wanted = outcome.record.acknowledged_of(log_type=place.log_type, team=place.team)
    return wanted - set(outcome.found[place.name]) - set(outcome.letters[place.name].found)


def total(outcome: Outcome, name: str, state: str) -> int:
    return sum(row[state] for row in outcome.books[name])


def test_no_acknowledged_line_is_lost(outcome: Outcome) -> None:
    lost = {name: sorted(missing(outcome, place))[:SOME] for name, place in outcome.places.items()}

    assert {name: names for name, names in lost.items() if names} == {}
    assert len(outcome.record.acknowledged) > HOSTS
    assert {kind for name, kind in outcome.record.kinds.items() if name in outcome.record.acknowledged} >= {
        "plain", "status", "numbers", "unknown_query", "newlines", "broken", "poison", "nameless", "huge",
    }  # fmt: skip


def test_no_place_has_what_its_filter_does_not_take(outcome: Outcome) -> None:
    strange = {
        name: [one for one in outcome.found[name] if not outcome.record.is_wanted(one, place.log_type, place.team)]
        for name, place in outcome.places.items()
    }

    assert {name: names[:SOME] for name, names in strange.items() if names} == {}


def test_the_ledger_adds_up_at_every_look(outcome: Outcome) -> None:
    assert outcome.watch.wrong[:SOME] == []
    assert outcome.watch.looks > SOME


def test_the_ledger_is_the_count_of_what_is_there(outcome: Outcome) -> None:
    wrong = []
    for name, place in outcome.places.items():
        there, delivered = outcome.found[name].total(), total(outcome, name, "delivered")
        duplicates = 0 if place.replaces else total(outcome, name, "duplicates")
        if not delivered <= there <= delivered + duplicates:
            wrong.append(f"{name} has {there} lines, the books say {delivered} and {duplicates} duplicates")
        if total(outcome, name, "dead_lettered") != outcome.letters[name].lines:
            wrong.append(f"{name}: {outcome.books[name]}, {outcome.letters[name].lines} lines in dead letters")
        if total(outcome, name, "pending"):
            wrong.append(f"{name}: {outcome.books[name]}")

    assert wrong == []


def test_everybody_received_the_same_and_no_more_than_was_sent(outcome: Outcome) -> None:
    received = {name: total(outcome, name, "received") for name in outcome.places}

    assert len(set(received.values())) == 1, received
    assert len(outcome.record.acknowledged) <= received["file"] <= outcome.record.sent.total()
    for name in outcome.places:
        assert total(outcome, name, "received") == sum(total(outcome, name, state) for state in STATES)


def test_what_replaces_has_each_line_as_often_as_the_stream_has_it(outcome: Outcome) -> None:
    reference = outcome.found["file"]
    wrong = {}
    for name, place in outcome.places.items():
        if place.replaces:
            wanted = Counter(
                {
                    one: count
                    for one, count in reference.items()
                    if outcome.record.is_wanted(one, place.log_type, place.team)
                }
            )
            wrong[name] = (wanted - outcome.found[name] - outcome.letters[name].found) | (outcome.found[name] - wanted)

    assert {name: dict(found.most_common(SOME)) for name, found in wrong.items() if found} == {}
    assert [one for one, count in reference.items() if count > outcome.record.sent[one]] == []


def test_lines_that_a_place_refuses_are_dead_letters_with_the_reason(outcome: Outcome) -> None:
    poisonous = {one for one in outcome.record.acknowledged if outcome.record.kinds[one] == "poison"}
    huge = {one for one in outcome.record.acknowledged if outcome.record.kinds[one] == "huge"}

    assert poisonous
    for name in REFUSING:
        assert set(outcome.letters[name].found) >= poisonous
        assert {outcome.record.kinds[one] for one in outcome.letters[name].found} == {"poison"}
    assert set(outcome.letters["kafka"].found) == huge
    assert all(reason for letters in outcome.letters.values() for reason in letters.reasons)
    assert {name for name, letters in outcome.letters.items() if letters.lines} == {*REFUSING, "kafka"}


def test_what_lagged_went_to_the_blob_store_and_came_back(outcome: Outcome) -> None:
    assert outcome.stored_parts > 0
    assert outcome.most_stored_bytes > 0
    assert missing(outcome, outcome.places[LAGGING]) == set()
    assert outcome.letters[LAGGING].lines == 0


def test_what_was_buried_was_tried_again_and_is_there(outcome: Outcome) -> None:
    assert outcome.buried.lines > 0
    assert all(reason.startswith("the backlog was full") for reason in outcome.buried.reasons)
    assert outcome.letters[BURYING].lines == 0


def test_what_was_sent_once_more_counts_as_duplicates(outcome: Outcome) -> None:
    assert outcome.replayed > 0
    for name in ("team", "kafka"):
        assert total(outcome, name, "duplicates") > 0


def test_it_is_known_of_every_host_when_it_last_logged(outcome: Outcome) -> None:
    assert len(outcome.logged_at) == HOSTS


def test_no_host_was_told_to_enroll_again(outcome: Outcome) -> None:
    assert outcome.record.invalid == set()
    assert outcome.record.unanswered > 0
