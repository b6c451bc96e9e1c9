"""Live queries over a thousand hosts while every part they need is killed in turn: all adds up, nothing is lost.

One run, looked at from several sides. Hosts die between taking a query and answering it, answer twice, answer what
they were not asked, fail, move to another team and are deleted. What must come of it is computed from what each host
said and heard. `FLOTILLA_FAULT_SEED` repeats a plan, which is printed when a test fails.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import defaultdict

import pytest
from flotilla_stack.testing import RunningStack

from . import people
from .campaign_desk import LEAVES
from .campaign_fleet import HOSTS
from .campaign_hosts import Offer
from .campaign_storm import Outcome, Storm
from .campaign_truth import wrong_hosts, wrong_sums, wrong_views
from .fault_plan import LAST, Plan, chosen_plan
from .ledger_watch import READ_SECONDS

pytestmark = pytest.mark.timeout(600)  # on a machine that others keep busy

OFFER_AGAIN_SECONDS = 60.0
READ_NEEDS = frozenset({"postgres", "admin-api"})
SOME = 10  # faults that are shown


async def rage(stack: RunningStack, plan: Plan) -> Outcome:
    dev = stack.dev()
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin:
        return await Storm(stack, admin, plan).run()


@pytest.fixture(scope="module")
def outcome(stack: RunningStack) -> Outcome:
    """What is left of one run."""
    return asyncio.run(rage(stack, chosen_plan()))


@pytest.fixture(autouse=True)
def story_is_told(outcome: Outcome) -> None:
    """Show the plan and what happened with each failure."""
    sys.stdout.write("\n".join([str(outcome.plan), *outcome.story, ""]))


def test_the_ledgers_add_up_at_every_second(outcome: Outcome) -> None:
    looks = outcome.watch.looks

    assert outcome.watch.wrong[:SOME] == []
    for before, after in itertools.pairwise(outcome.faults):
        calm = [look for look in looks if before.back <= look.at <= after.killed]
        assert any(look.read and not look.unread for look in calm), f"between {before.part} and {after.part}"
    dead = [fault for fault in outcome.faults if fault.part in READ_NEEDS]
    unread = [look for look in looks if look.unread]
    assert [
        look for look in unread if not any(one.covers(look.at, before=READ_SECONDS + 1, after=5) for one in dead)
    ] == []


def test_rows_are_those_of_the_answers_that_count_each_once(outcome: Outcome) -> None:
    wrong = [
        fault
        for campaign_id, seen in outcome.seen.items()
        for fault in wrong_hosts(
            outcome.record,
            outcome.record.asked[campaign_id],
            seen,
            outcome.fleet.names,
            outcome.ends.get(campaign_id, {}),
            outcome.is_held_up,
        )
    ]
    sums = [fault for seen in outcome.seen.values() for fault in wrong_sums(seen)]

    assert wrong[:SOME] == []
    assert sums == []


def test_every_answer_was_settled_and_every_ledger_closed(outcome: Outcome) -> None:
    assert outcome.unfinished == {}
    assert set(outcome.statuses.values()) == {2}
    assert len(outcome.statuses) == len(outcome.record.asked)


def test_viewers_end_equal_wherever_they_left_and_came_back(outcome: Outcome) -> None:
    wrong = {number: faults[:SOME] for number, seen in outcome.seen.items() if (faults := wrong_views(seen))}

    assert wrong == {}
    assert all(restless.came > LEAVES for _, restless in outcome.viewers.values())


def test_nobody_who_watches_is_sent_away_but_by_the_end_of_admin_api(outcome: Outcome) -> None:
    dead = [fault for fault in outcome.faults if fault.part == "admin-api"]
    away = [(at, why) for viewers in outcome.viewers.values() for viewer in viewers for at, why in viewer.sent_away]

    assert len(dead) == 1
    assert [one for one in away if not dead[0].covers(one[0])] == []


def test_each_foreign_answer_is_in_the_security_counter_and_nowhere_else(outcome: Outcome) -> None:
    sent = {name: outcome.record.strange[name, "foreign"] for name in outcome.counted}
    unknown = {name: outcome.record.strange[name, "unknown"] for name in outcome.counted}

    assert min(sent.values()) > SOME
    for name, counts in outcome.counted.items():
        assert 0 <= counts["foreign"] - sent[name] <= outcome.record.strange_unheard[name]
        assert counts["unknown"] >= unknown[name]
    assert [counts.get(kind, 0) for counts in outcome.settled for kind in ("foreign", "unknown")] == [0, 0, 0, 0]


def test_who_died_with_a_query_is_asked_again_a_minute_later_by_the_same_gateway(outcome: Outcome) -> None:
    found = [outcome.record.offers[host.identifier] for host in outcome.fleet.patient]

    for offers in found:
        first, second = offers[:2]
        assert {offer.gateway for offer in offers} == {LAST}
        assert (first.attempt, second.attempt, first.life, second.life) == (1, 2, 0, 0)
        assert OFFER_AGAIN_SECONDS <= second.at - first.asked <= OFFER_AGAIN_SECONDS + 30
    counts = outcome.seen[outcome.patient_campaign].counts
    assert (counts["targeted"], counts["answered"]) == (len(found), len(found))


def test_a_gateway_asks_nobody_twice_within_a_minute_nor_after_an_answer(outcome: Outcome) -> None:
    hasty, deaf = [], []
    for name, offers in outcome.record.offers.items():
        by_life: defaultdict[tuple[int, str, int], list[Offer]] = defaultdict(list)
        for offer in offers:
            by_life[offer.campaign_id, offer.gateway, offer.life].append(offer)
        for of_one in by_life.values():
            attempts = [offer.attempt for offer in of_one]
            pauses = [after.at - before.asked for before, after in itertools.pairwise(of_one)]
            is_in_order = attempts == sorted(set(attempts))  # one of which the host never heard may be missing
            if not is_in_order or min(pauses, default=OFFER_AGAIN_SECONDS) < OFFER_AGAIN_SECONDS:
                hasty.append((name, of_one))
        for offer in offers:
            taken = [
                answer
                for answer in outcome.record.given(offer.campaign_id, name)
                if answer.taken is not None and answer.taken_by == (offer.gateway, offer.life)
            ]
            deaf += [(name, offer, answer) for answer in taken if (answer.taken or 0) < offer.asked]
    assert hasty[:SOME] == []
    assert deaf[:SOME] == []


def test_a_moved_host_is_offered_only_what_its_new_team_allows(outcome: Outcome) -> None:
    offered = {
        host.identifier: [
            offer.at for offer in outcome.record.offers[host.identifier] if offer.campaign_id == outcome.team_campaign
        ]
        for host in outcome.fleet.moved
    }
    others = [outcome.record.offers[name] for name in offered]

    assert {name for name, times in offered.items() if times} == outcome.back
    assert all(at >= outcome.moved_back for times in offered.values() for at in times)
    assert all(offers for offers in others)


def test_answers_after_the_end_are_counted_as_such(outcome: Outcome) -> None:
    late = outcome.late

    assert late["sent"] > SOME
    assert late.get("ended", 0) + late.get("late", 0) + late.get("unknown", 0) == late["sent"]
    assert late["settled"] == late.get("ended", 0)
    assert (late.get("open", 0), late.get("foreign", 0)) == (0, 0)


def test_no_host_was_told_to_enroll_again_but_those_that_were_deleted(outcome: Outcome) -> None:
    assert outcome.record.invalid == {host.identifier for host in outcome.fleet.deleted}
    assert len(outcome.fleet.ids) == HOSTS
    assert outcome.record.garbled > SOME
