"""Campaigns: who is asked, when again, whose answers count."""

from __future__ import annotations

import random
import tracemalloc

import msgspec
from agent_gateway.domain.campaigns import BROAD_HOSTS, FIRST_OFFERS, PLACES, Campaigns, FirstOffer
from agent_gateway.domain.hosts import Host, HostClass
from flotilla_common.contracts.campaigns import CampaignCommand
from flotilla_common.contracts.hosts import HostRecord
from pyroaring import BitMap

BROAD = range(1, BROAD_HOSTS + 2)
DAY = 86_400.0


def command(campaign_id: int, *, deadline: float = DAY, teams: list[int] | None = None) -> CampaignCommand:
    return CampaignCommand(campaign_id, f"SELECT {campaign_id};", 0.0, deadline, "ab" * 16, b"", teams)


def host(host_id: int = 1, team_id: int | None = None) -> Host:
    record = HostRecord(host_id=host_id, revision=1, node_key_hash=None, team_id=team_id)
    return Host(host_id, 0, HostClass(record), 0)


def asked(campaigns: Campaigns, host_id: int, now: float) -> list[str]:
    return list(campaigns.offers(host(host_id), now)[0].values())


def test_a_query_is_offered_after_60_s_and_ever_later_up_to_a_quarter_hour() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1]), 0.0)

    offered = [float(second) for second in range(5000) if asked(campaigns, 1, float(second))]

    assert offered == [0.0, 60.0, 180.0, 420.0, 900.0, 1800.0, 2700.0, 3600.0, 4500.0]


def test_a_host_is_to_come_again_soon_for_half_a_minute_after_each_offer_and_not_for_as_long_as_it_is_silent() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1]), 0.0)

    soon = [second for second in range(0, 400, 10) if campaigns.offers(host(1), float(second))[1]]

    assert soon == [0, 10, 20, 60, 70, 80, 180, 190, 200]


def test_each_offer_has_its_own_attempt_in_the_name() -> None:
    campaigns = Campaigns()
    campaigns.start(command(7), BitMap([1]), 0.0)

    names = [name for now in (0.0, 60.0) for name in campaigns.offers(host(), now)[0]]

    trace = "ab" * 16
    assert names == [f"fleet_distributed_query_7_1_{trace}", f"fleet_distributed_query_7_2_{trace}"]


def test_nothing_is_offered_from_the_deadline_on() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1, deadline=100.0), BitMap([1]), 0.0)

    assert campaigns.offers(host(), 100.0) == ({}, False)
    assert not campaigns.has_open(1)


def test_broad_campaigns_ask_all_their_hosts_once() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap(BROAD), 0.0)

    assert all(asked(campaigns, number, 0.0) == ["SELECT 1;"] for number in BROAD)
    assert asked(campaigns, BROAD_HOSTS + 2, 0.0) == []
    assert asked(campaigns, 1, 1.0) == []


def test_the_65th_broad_campaign_waits_for_a_free_place() -> None:
    campaigns = Campaigns()
    for number in range(1, PLACES + 2):
        campaigns.start(command(number), BitMap(BROAD), 0.0)
    before = asked(campaigns, 1, 0.0)
    campaigns.end(3, 1.0)
    after = asked(campaigns, 1, 1.0)

    assert len(before) == PLACES
    assert after == [f"SELECT {PLACES + 1};"]


def test_a_waiting_broad_campaign_may_be_ended() -> None:
    campaigns = Campaigns()
    for number in range(1, PLACES + 2):
        campaigns.start(command(number), BitMap(BROAD), 0.0)
    campaigns.end(PLACES + 1, 1.0)
    campaigns.end(1, 1.0)

    assert len(asked(campaigns, 1, 1.0)) == PLACES - 1


def test_a_host_of_two_broad_campaigns_is_asked_by_the_other_when_one_ends_or_is_answered() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap(BROAD), 0.0)
    campaigns.start(command(2), BitMap(range(BROAD_HOSTS, 3 * BROAD_HOSTS)), 0.0)
    campaigns.answered(1, BROAD_HOSTS)
    both = BROAD_HOSTS + 1

    assert asked(campaigns, BROAD_HOSTS, 0.0) == ["SELECT 2;"]
    campaigns.end(1, 1.0)
    assert not campaigns.has_open(1)
    assert asked(campaigns, both, 1.0) == ["SELECT 2;"]
    campaigns.end(2, 2.0)
    assert not campaigns.has_open(both)


def test_a_broad_campaign_costs_a_gateway_little_memory_and_time() -> None:
    targets = BitMap(random.Random(1).sample(range(1_000_000), 100_000))
    campaigns = Campaigns()
    tracemalloc.start()
    campaigns.start(command(1), targets, 0.0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used < 100_000  # bytes beside the set itself, of which there are two copies: nothing per host


def test_thousands_of_narrow_campaigns_may_be_open() -> None:
    campaigns = Campaigns()
    for number in range(1, 3001):
        campaigns.start(command(number), BitMap([number % 100]), 0.0)

    assert len(asked(campaigns, 1, 0.0)) == 30


def test_a_host_that_answered_or_was_settled_is_left_alone_in_broad_and_narrow() -> None:
    for targets in (BitMap([1, 2, 3]), BitMap(BROAD)):
        campaigns = Campaigns()
        campaigns.start(command(1), targets, 0.0)
        campaigns.answered(1, 1)
        campaigns.settle(1, BitMap([2]))

        assert [bool(asked(campaigns, number, 0.0)) for number in (1, 2, 3)] == [False, False, True]
        assert not campaigns.has_open(1)


def test_settled_hosts_may_be_known_before_the_command() -> None:
    campaigns = Campaigns()
    campaigns.settle(1, BitMap([1]))
    campaigns.start(command(1), BitMap([1, 2]), 0.0)

    assert [bool(asked(campaigns, number, 0.0)) for number in (1, 2)] == [False, True]


def test_a_command_that_comes_twice_is_offered_once() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1, 2]), 0.0)
    first = asked(campaigns, 1, 0.0)
    campaigns.answered(1, 2)
    campaigns.start(command(1), BitMap([1, 2]), 1.0)

    assert first == ["SELECT 1;"]
    assert asked(campaigns, 1, 1.0) == []
    assert asked(campaigns, 2, 1.0) == []


def test_the_host_is_asked_only_while_it_is_in_an_allowed_team() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1, teams=[0, 7]), BitMap([1]), 0.0)

    assert campaigns.offers(host(1, team_id=8), 0.0) == ({}, False)
    assert campaigns.offers(host(1, team_id=None), 0.0)[0]
    assert campaigns.offers(host(1, team_id=7), 60.0)[0]


def test_answers_count_until_an_hour_after_the_end() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1]), 0.0)
    open_verdict = campaigns.verdict(1, 1, 10.0)
    campaigns.end(1, 10.0)

    assert open_verdict == "open"
    assert campaigns.verdict(1, 1, 11.0) == "ended"
    assert campaigns.verdict(1, 1, 3610.0) == "ended"
    assert campaigns.verdict(1, 1, 3611.0) == "late"
    assert campaigns.verdict(1, 2, 11.0) == "foreign"
    assert campaigns.verdict(2, 1, 11.0) == "unknown"


def test_late_answers_are_still_told_from_foreign_ones_after_the_sweep() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1, deadline=100.0), BitMap([1]), 0.0)
    campaigns.sweep(5000.0)

    assert campaigns.verdict(1, 1, 5000.0) == "late"
    campaigns.sweep(100.0 + 2 * DAY)
    assert campaigns.verdict(1, 1, 2 * DAY) == "unknown"


def test_the_deadline_ends_a_campaign_even_if_nobody_says_so() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1, deadline=100.0), BitMap([1]), 0.0)

    assert campaigns.verdict(1, 1, 101.0) == "ended"
    assert campaigns.verdict(1, 1, 100.0 + 3601.0) == "late"


def test_hosts_that_take_a_query_and_stay_silent_are_named_once() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1, 2, 3]), 0.0)
    for host_id in (1, 2):
        asked(campaigns, host_id, 0.0)
    first = campaigns.silent_hosts()
    campaigns.answered(1, 2)
    second = campaigns.silent_hosts()
    asked(campaigns, 1, 100.0)  # again
    later = [campaigns.silent_hosts() for _ in range(3)]

    assert first == {}  # they have had no time to answer yet
    assert second == {1: {1}}
    assert later == [{}, {}, {}]


def test_silent_hosts_of_a_campaign_that_ended_are_nobodys_business() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1]), 0.0)
    asked(campaigns, 1, 0.0)
    campaigns.silent_hosts()
    campaigns.end(1, 1.0)

    assert campaigns.silent_hosts() == {}


def test_after_a_pause_a_host_is_asked_no_sooner_and_its_attempts_go_on() -> None:
    for targets in (BitMap([1, 2]), BitMap(BROAD)):
        campaigns = Campaigns()
        campaigns.start(command(7), targets, 0.0)
        names = [*campaigns.offers(host(1), 0.0)[0], *campaigns.offers(host(1), 60.0)[0]]
        campaigns.offers(host(2), 60.0)
        campaigns.end(7, 61.0)
        campaigns.answered(7, 2)
        campaigns.start(command(7), targets, 62.0)
        names += [name for now in (62.0, 179.0, 180.0) for name in campaigns.offers(host(1), now)[0]]

        assert [name.split("_")[4] for name in names] == ["1", "2", "3"]
        assert not campaigns.has_open(2)


def test_offers_of_a_campaign_that_ended_take_little_room_and_those_of_one_at_its_deadline_none() -> None:
    hosts = 100_000
    campaigns = Campaigns()
    for number in (1, 2):
        campaigns.start(command(number), BitMap(range(1, hosts + 1)), 0.0)
    for host_id in range(1, hosts + 1):
        campaigns.offers(host(host_id), 0.0)
    tracemalloc.start()
    campaigns.end(1, 1.0)
    campaigns.end(2, DAY)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 25 * hosts


def test_a_host_that_never_answers_is_asked_for_thirty_days() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1, deadline=30 * DAY), BitMap([1]), 0.0)

    offered = [now for quarter in range(2880) if asked(campaigns, 1, now := quarter * 900.0)]

    assert len(offered) == 2880


def ramped(campaign_id: int) -> CampaignCommand:
    return msgspec.structs.replace(command(campaign_id), ramped=True)


def test_a_ramped_campaign_asks_released_hosts_alone_whatever_comes_first() -> None:
    for targets in (BitMap(range(1, 10)), BitMap(BROAD)):
        campaigns = Campaigns()
        campaigns.release(1, BitMap([1, 2, 1_000_000]))
        campaigns.start(ramped(1), targets, 0.0)
        early = [number for number in range(1, 6) if campaigns.has_open(number)]
        asked(campaigns, 1, 0.0)
        campaigns.answered(1, 1)
        campaigns.release(1, BitMap([1, 2, 3, 4]))
        campaigns.release(1, BitMap([2]))  # an older word
        later = [number for number in range(1, 6) if asked(campaigns, number, 1.0)]

        assert (early, later) == ([1, 2], [2, 3, 4])
        assert not campaigns.has_open(1_000_000)


def test_a_ramped_campaign_asks_nobody_before_it_hears_whom_and_keeps_it_over_a_pause() -> None:
    for targets in (BitMap(range(1, 10)), BitMap(BROAD)):
        campaigns = Campaigns()
        campaigns.start(ramped(1), targets, 0.0)
        before = [number for number in range(1, 6) if campaigns.has_open(number)]
        campaigns.release(1, BitMap([3]))
        campaigns.end(1, 1.0)
        campaigns.release(1, BitMap([3, 4]))
        paused = [number for number in range(1, 6) if campaigns.has_open(number)]
        campaigns.start(ramped(1), targets, 2.0)

        assert (before, paused) == ([], [])
        assert [number for number in range(1, 6) if asked(campaigns, number, 2.0)] == [3, 4]


def test_a_broad_ramped_campaign_that_waits_for_a_place_asks_the_released_when_it_has_one() -> None:
    campaigns = Campaigns()
    for number in range(1, PLACES + 1):
        campaigns.start(command(number), BitMap(BROAD), 0.0)
    campaigns.start(ramped(PLACES + 1), BitMap(BROAD), 0.0)
    campaigns.release(PLACES + 1, BitMap([7]))
    for number in range(1, PLACES + 1):
        campaigns.end(number, 1.0)

    assert asked(campaigns, 7, 1.0) == [f"SELECT {PLACES + 1};"]
    assert asked(campaigns, 8, 1.0) == []


def test_released_hosts_do_nothing_to_a_campaign_that_asks_all() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1, 2]), 0.0)
    campaigns.release(1, BitMap([1]))

    assert asked(campaigns, 2, 0.0) == ["SELECT 1;"]


def test_a_ramped_campaign_of_100k_hosts_takes_little_memory() -> None:
    targets = BitMap(range(1, 100_001))
    campaigns = Campaigns()
    tracemalloc.start()
    campaigns.start(ramped(1), targets, 0.0)
    for number in range(1, 100):
        campaigns.release(1, BitMap(range(1, number * 1000, 2)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held + len(targets.serialize()) + 3 * 12_500 < 150 * 1024


def test_when_a_host_was_asked_follows_from_when_it_is_asked_again() -> None:
    campaigns = Campaigns()
    campaigns.start(command(1), BitMap([1, 2]), 0.0)
    for now in (10.0, 71.0, 200.0):
        asked(campaigns, 1, now)

    assert [campaigns.offered_ms(1, 1, attempt) for attempt in (0, 1, 2, 3)] == [200_000, 0, 0, 200_000]
    assert campaigns.offered_ms(1, 2, 1) == campaigns.offered_ms(9, 1, 1) == 0


def test_the_first_offers_of_a_campaign_are_told_once_also_after_a_pause() -> None:
    campaigns = Campaigns()
    traced = msgspec.structs.replace(command(1), span="cd" * 8)
    hosts = range(1, FIRST_OFFERS + 9)
    campaigns.start(traced, BitMap(hosts), 3.0)
    campaigns.start(command(2), BitMap([1]), 3.0)  # without a span there is no trace to go on with
    asked(campaigns, 1, 5.0)
    told = campaigns.first_offers()
    campaigns.end(1, 7.0)
    campaigns.start(traced, BitMap(hosts), 8.0)
    for host_id in hosts:
        asked(campaigns, host_id, 300.0)  # the first one again
    later = campaigns.first_offers()

    assert told == [FirstOffer(1, 1, f"00-{'ab' * 16}-{'cd' * 8}-01", 3.0, 5.0)]
    assert [offer.host_id for offer in later] == list(range(2, FIRST_OFFERS))
    assert campaigns.first_offers() == []
