"""Viewers that ask for it are told what the answers add up to, while they come."""

from __future__ import annotations

import pytest
from admin_api.routes import aggregate_feed
from flotilla_common.db.models.inventory import Host
from sqlalchemy import update
from sqlmodel import col


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(aggregate_feed, "DELTA_SECONDS", 0.05)
    monkeypatch.setattr(aggregate_feed, "SIGHT_SECONDS", 0.1)


def values_of(groups) -> dict[str, int]:
    return {group["values"]["version"]: group["hosts"]["count"] for group in groups}


async def test_the_whole_comes_first_then_only_what_changed(fleet, admin, live_query, watching):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts)
    for host, version in ((hosts[0], "1"), (hosts[1], "2")):
        await live_query.answer(campaign, host, [{"version": version}])

    async with watching(admin, campaign) as viewer:
        await viewer.send("select_aggregate", {"group_by": ["version"]})
        whole = (await viewer.next("aggregate"))["data"]
        await live_query.answer(campaign, hosts[2], [{"version": "2"}])
        change = (await viewer.next("aggregate_delta"))["data"]

    assert (whole["revision"], whole["hosts"], change["revision"], change["hosts"]) == (1, 2, 2, 3)
    assert values_of(whole["groupings"][0]["top"]) == {"1": 1, "2": 1}
    assert values_of(change["groupings"][0]["changed"]) == {"2": 2}


async def test_a_viewer_that_does_not_ask_is_told_of_no_aggregate(fleet, admin, live_query, watching):
    hosts = [await fleet.host("a"), await fleet.host("b")]
    campaign = await live_query.campaign(hosts)
    kinds = []

    async with watching(admin, campaign) as asking, watching(admin, campaign) as stock:
        await asking.send("select_aggregate", {"group_by": ["version"]})
        await live_query.answer(campaign, hosts[0], [{"version": "1"}])
        await asking.next("aggregate")
        await live_query.answer(campaign, hosts[1], [{"version": "1"}])
        while "finished" not in str(kinds[-1:]):
            kinds.append(await stock.next())

    assert {told["type"] for told in kinds} == {"totals", "status", "result"}


async def test_a_host_that_moves_to_another_team_takes_its_values_along(
    fleet, live_query, watching, make_user, make_team, database
):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    member = await make_user("maintainer", own)
    hosts = [await fleet.host("a", own), await fleet.host("b", own)]
    campaign = await live_query.campaign(hosts, member.user_id)
    for host, version in zip(hosts, ("stays", "goes"), strict=True):
        await live_query.answer(campaign, host, [{"version": version}])

    async with watching(member, campaign) as viewer:
        await viewer.send("select_aggregate", {"group_by": ["version"]})
        whole = (await viewer.next("aggregate"))["data"]
        async with database.sessions("inventory").begin() as session:
            await session.execute(update(Host).where(col(Host.id) == hosts[1]).values(team_id=foreign))
        change = (await viewer.next("aggregate_delta"))["data"]

    assert values_of(whole["groupings"][0]["top"]) == {"stays": 1, "goes": 1}
    assert change["hosts"] == 1
    assert change["groupings"][0]["gone"] == [{"version": "goes"}]


SENSELESS = [
    (None, "data: Input should be a valid dictionary"),
    ({}, "group_by: Field required"),
    ({"group_by": []}, "group_by: group_by must be given 1 to 4 times"),
    ({"group_by": "a"}, "group_by: Input should be a valid list"),
    ({"group_by": ["a"], "top": 201}, "top: Input should be less than or equal to 200"),
]


async def test_a_selection_that_makes_no_sense_is_told_and_the_viewer_stays(fleet, admin, live_query, watching):
    first, second = await fleet.host("a"), await fleet.host("b")
    campaign = await live_query.campaign([first, second])
    await live_query.answer(campaign, first, [{"version": "1"}])
    told = []
    async with watching(admin, campaign) as viewer:
        await viewer.send("select_aggregate", {"group_by": ["version"]})
        whole = (await viewer.next("aggregate"))["data"]
        for data, _ in SENSELESS:
            await viewer.send("select_aggregate", data)
            told.append((await viewer.next("aggregate_error"))["data"])
        await live_query.answer(campaign, second, [{"version": "1"}])
        row = (await viewer.next("result"))["data"]
        change = (await viewer.next("aggregate_delta"))["data"]

    assert all(text.startswith(wanted) for text, (_, wanted) in zip(told, SENSELESS, strict=True)), told
    assert row["rows"]
    assert (change["revision"], change["hosts"]) == (whole["revision"] + 1, 2)


async def test_a_group_whose_values_became_more_is_told_as_changed(fleet, admin, live_query, watching):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts)
    for host, version in zip(hosts[:2], ("1", "2"), strict=True):
        await live_query.answer(campaign, host, [{"name": version, "version": version}])

    async with watching(admin, campaign) as viewer:
        await viewer.send("select_aggregate", {"group_by": ["name"], "column": "version"})
        [whole] = (await viewer.next("aggregate"))["data"]["groupings"]
        await live_query.answer(campaign, hosts[2], [{"name": "2", "version": "3"}])
        [change] = (await viewer.next("aggregate_delta"))["data"]["groupings"]
        await viewer.send("select_aggregate", {"group_by": ["name"]})
        [without] = (await viewer.next("aggregate"))["data"]["groupings"]

    assert [group["distinct"]["count"] for group in whole["top"]] == [1, 1]
    assert [(group["values"]["name"], group["distinct"]["count"]) for group in change["changed"]] == [("2", 2)]
    assert all("distinct" not in group for group in without["top"])
