"""What the answers of a live query add up to, for whom."""

from __future__ import annotations

import pytest

from .archiving import Archivist


@pytest.fixture
async def teams(make_team) -> tuple[int, int]:
    return await make_team("Own"), await make_team("Foreign")


@pytest.fixture
def archivist(live_query, deps) -> Archivist:
    return Archivist(live_query, deps.blobs)


def hosts_by_value(answer) -> dict[str, int]:
    [grouping] = answer.json()["aggregate"]["groupings"]
    return {group["values"]["version"]: group["hosts"]["count"] for group in grouping["top"]}


async def test_which_version_is_on_how_many_hosts(ask, admin, fleet, live_query):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts)
    await live_query.answer(campaign, hosts[0], [{"version": "1", "arch": "x"}, {"version": "1", "arch": "y"}])
    await live_query.answer(campaign, hosts[1], [{"version": "2", "arch": "x"}])
    await live_query.answer(campaign, hosts[2], [], "failed", error="no such table")

    answer = await ask(admin, f"GET /campaigns/{campaign}/aggregate", group_by="version", top="1")

    aggregate = answer.json()["aggregate"]
    assert (answer.status_code, aggregate["hosts"], aggregate["rows"], aggregate["behind"]) == (200, 2, 3, False)
    assert aggregate["groupings"] == [
        {
            "group_by": ["version"],
            "exact": True,
            "distinct": {"count": 2, "at_least": 2, "at_most": 2},
            "top": [
                {
                    "values": {"version": "1"},
                    "hosts": {"count": 1, "at_least": 1, "at_most": 1},
                    "rows": {"count": 2, "at_least": 2, "at_most": 2},
                }
            ],
        }
    ]


async def test_answers_that_come_later_are_added(ask, admin, fleet, live_query):
    hosts = [await fleet.host(name) for name in "abcdefghijkl"]
    campaign = await live_query.campaign(hosts)
    path = f"GET /campaigns/{campaign}/aggregate"
    await live_query.answer(campaign, hosts[0], [{"version": "1"}])
    first = hosts_by_value(await ask(admin, path, group_by="version"))
    for host in hosts[1:]:
        await live_query.answer(campaign, host, [{"version": "2"}])
    await live_query.end(campaign)

    assert first == {"1": 1}
    assert hosts_by_value(await ask(admin, path, group_by="version")) == {"1": 1, "2": 11}


async def test_nothing_of_hosts_out_of_sight_is_added_for_a_member_of_a_team(
    ask, admin, fleet, live_query, make_user, teams
):
    member = await make_user("maintainer", teams[0])
    own, foreign, without = [await fleet.host(name, team) for name, team in zip("abc", (*teams, None), strict=True)]
    campaign = await live_query.campaign([own, foreign, without], member.user_id)
    for host, version in ((own, "own"), (foreign, "foreign"), (without, "none")):
        await live_query.answer(campaign, host, [{"version": version}])
    path = f"GET /campaigns/{campaign}/aggregate"

    whole = await ask(admin, path, group_by="version")
    part = await ask(member, path, group_by="version")

    assert set(hosts_by_value(whole)) == {"own", "foreign", "none"}
    assert hosts_by_value(part) == {"own": 1}
    assert (part.json()["aggregate"]["hosts"], part.json()["aggregate"]["rows"]) == (1, 1)


async def test_who_may_not_watch_sees_nothing(ask, fleet, live_query, make_user, teams):
    stranger = await make_user("maintainer", teams[0])
    campaign = await live_query.campaign([await fleet.host("b", teams[1])])

    answer = await ask(stranger, f"GET /campaigns/{campaign}/aggregate", group_by="version")

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "parameters",
    [{}, {"group_by": ""}, {"group_by": "a,a"}, {"group_by": "a,b,c,d"}, {"group_by": "x" * 129},
     {"group_by": "a", "column": "x" * 129}, {"group_by": "a", "top": "0"}, {"group_by": "a", "top": "201"}],
)  # fmt: skip
async def test_what_makes_no_sense_is_told(ask, admin, fleet, live_query, parameters):
    campaign = await live_query.campaign([await fleet.host("a")])

    answer = await ask(admin, f"GET /campaigns/{campaign}/aggregate", **parameters)

    assert answer.status_code in {400, 422}
    assert answer.json()["errors"][0]["reason"]


async def test_the_values_of_another_column_are_counted_within_each_group(ask, admin, fleet, live_query):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts)
    for host, name, version in zip(hosts, ("osqueryd", "osqueryd", "orbit"), ("5.15", "5.16", "1.0"), strict=True):
        await live_query.answer(campaign, host, [{"name": name, "version": version}, {"name": name}])

    answer = await ask(admin, f"GET /campaigns/{campaign}/aggregate", group_by="name", column="version")
    plain = await ask(admin, f"GET /campaigns/{campaign}/aggregate", group_by="name")

    [grouping] = answer.json()["aggregate"]["groupings"]
    assert grouping["column"] == "version"
    assert [(group["values"]["name"], group["distinct"]) for group in grouping["top"]] == [
        ("osqueryd", {"count": 2, "at_least": 2, "at_most": 2}),
        ("orbit", {"count": 1, "at_least": 1, "at_most": 1}),
    ]
    [without] = plain.json()["aggregate"]["groupings"]
    assert "column" not in without
    assert all("distinct" not in group for group in without["top"])


async def test_removed_results_are_in_no_sum_also_when_they_were_counted_before(
    ask, admin, fleet, live_query, archivist
):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])
    await live_query.answer(campaign, host, [{"version": "1"}])
    await live_query.end(campaign)
    await archivist.segment(campaign, 1)
    await archivist.finish(campaign)
    path = f"GET /campaigns/{campaign}/aggregate"
    before = await ask(admin, path, group_by="version")
    await archivist.remove(campaign)
    after = (await ask(admin, path, group_by="version")).json()["aggregate"]

    assert hosts_by_value(before) == {"1": 1}
    assert (after["hosts"], after["rows"], after["groupings"][0]["top"]) == (0, 0, [])
