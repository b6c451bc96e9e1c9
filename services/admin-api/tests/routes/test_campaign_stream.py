"""What viewers of a campaign get over a raw WebSocket."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from admin_api.routes import campaign_feed
from flotilla_common.contracts.campaigns import Budget
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.db.models.live_query import LedgerRow
from flotilla_common.testing.waiting import eventually
from sqlalchemy import update
from sqlmodel import col

from .conftest import LONG_AGO


@pytest.fixture
def quick_news(monkeypatch):
    """News come as often as a test can wait for."""
    monkeypatch.setattr(campaign_feed, "NEWS_SECONDS", 0.1)


async def test_a_viewer_is_told_totals_then_status_then_each_answer(fleet, admin, live_query, watching):
    hosts = [
        await fleet.host("db-1", computer_name="Books"),
        await fleet.host("db-2"),
        await fleet.host("x", seen=LONG_AGO),
    ]
    campaign = await live_query.campaign(hosts)

    async with watching(admin, campaign) as viewer:
        totals, status = await viewer.next(), await viewer.next()
        await live_query.answer(campaign, hosts[0], [{"port": "22"}, {"port": "80"}])
        result = await viewer.next()

    assert totals == {"type": "totals", "data": {"count": 3, "online": 2, "offline": 1, "missing_in_action": 0}}
    assert status["data"] == {
        "expected_results": 2, "actual_results": 0, "count_of_hosts_with_results": 0,
        "count_of_hosts_with_no_results": 0, "status": "pending",
    }  # fmt: skip
    names = {"host_hostname": "db-1", "host_display_name": "Books"}
    assert result["type"] == "result"
    assert result["data"] == {
        "distributed_query_execution_id": campaign,
        "host": {"id": hosts[0], "hostname": "db-1", "display_name": "Books"},
        "rows": [{"port": "22", **names}, {"port": "80", **names}],
        "stats": None,
    }


async def test_the_last_answer_of_those_online_is_followed_by_finished_at_once(fleet, admin, live_query, watching):
    hosts = [await fleet.host("a"), await fleet.host("b"), await fleet.host("away", seen=LONG_AGO)]
    campaign = await live_query.campaign(hosts)

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        await live_query.answer(campaign, hosts[0])
        await live_query.answer(campaign, hosts[1], [])
        await viewer.results(2)
        status = (await viewer.next("status"))["data"]

    assert status == {
        "expected_results": 2, "actual_results": 2, "count_of_hosts_with_results": 1,
        "count_of_hosts_with_no_results": 1, "status": "finished",
    }  # fmt: skip


async def test_the_end_of_a_campaign_is_finished_whoever_is_missing(fleet, admin, live_query, watching):
    hosts = [await fleet.host("a"), await fleet.host("b")]
    campaign = await live_query.campaign(hosts)

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        await live_query.end(campaign, "stopped")
        status = (await viewer.next("status"))["data"]

    assert (status["status"], status["actual_results"]) == ("finished", 0)


async def test_totals_and_status_follow_the_hosts(fleet, admin, live_query, watching, quick_news, clock):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        clock.ahead = LONG_AGO
        totals = (await viewer.next("totals"))["data"]

    assert totals == {"count": 1, "online": 0, "offline": 1, "missing_in_action": 0}


async def test_failed_and_denylisted_hosts_say_why_and_count_as_answers(fleet, admin, live_query, watching):
    hosts = [await fleet.host("a"), await fleet.host("b")]
    campaign = await live_query.campaign(hosts)
    await live_query.answer(campaign, hosts[0], [], "failed", error="no such table: x")
    await live_query.answer(campaign, hosts[1], [], "denylisted", error="distributed query is denylisted")

    async with watching(admin, campaign) as viewer:
        failed, denied = await viewer.results(2)
        status = (await viewer.next("status"))["data"]

    assert (failed["rows"], failed["error"]) == ([], "no such table: x")
    assert denied["error"] == "distributed query is denylisted"
    assert (status["actual_results"], status["count_of_hosts_with_results"]) == (2, 0)
    assert status["count_of_hosts_with_no_results"] == 0


async def test_statistics_of_a_host_are_passed_on(fleet, admin, live_query, watching):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])
    await live_query.answer(campaign, host, stats='{"wall_time_ms":3,"memory":1024}')

    async with watching(admin, campaign) as viewer:
        [result] = await viewer.results(1)

    assert result["stats"] == {"wall_time_ms": 3, "memory": 1024}


async def test_every_viewer_gets_every_answer_whenever_it_comes(fleet, admin, live_query, watching, make_user):
    hosts = [await fleet.host(f"host-{number}") for number in range(20)]
    campaign = await live_query.campaign(hosts)
    second = await make_user("admin")

    async with watching(admin, campaign) as early, watching(second, campaign) as other:
        await early.next("status")
        for host in hosts[:10]:
            await live_query.answer(campaign, host)
        async with watching(admin, campaign) as late:
            for host in hosts[10:]:
                await live_query.answer(campaign, host)
            seen = [[result["host"]["id"] for result in await viewer.results(20)] for viewer in (early, other, late)]

    assert seen == [hosts] * 3


async def test_a_viewer_goes_on_from_where_it_was(fleet, admin, live_query, watching):
    hosts = [await fleet.host(f"host-{number}") for number in range(5)]
    campaign = await live_query.campaign(hosts)
    for host in hosts[:3]:
        await live_query.answer(campaign, host)
    async with watching(admin, campaign) as viewer:
        last = [await viewer.next("result") for _ in range(2)][-1]["position"]
    await live_query.answer(campaign, hosts[3])

    async with watching(admin, campaign, last=last) as again:
        status = (await again.next("status"))["data"]
        results = await again.results(2)
        await live_query.answer(campaign, hosts[4])
        results += await again.results(1)

    assert status["actual_results"] == 2
    assert [result["host"]["id"] for result in results] == hosts[2:]


async def test_an_ended_campaign_can_still_be_seen(fleet, admin, live_query, watching):
    hosts = [await fleet.host(f"host-{number}") for number in range(30)]
    campaign = await live_query.campaign(hosts)
    for host in hosts:
        await live_query.answer(campaign, host)
    await live_query.end(campaign)

    async with watching(admin, campaign) as viewer:
        results = [await viewer.next() for _ in range(33)]

    assert [message["type"] for message in results] == ["totals", "status", *["result"] * 30, "status"]
    assert results[-1]["data"]["status"] == "finished"


async def test_nothing_is_lost_when_a_campaign_is_complete_before_its_viewers_are_told(
    fleet, admin, live_query, watching, quick_news
):
    hosts = [await fleet.host("a"), await fleet.host("b")]
    campaign = await live_query.campaign([*hosts, 99])

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        await live_query.answer(campaign, hosts[0])
        await live_query.answer(campaign, hosts[1])
        await live_query.complete(campaign)
        messages = [await viewer.next()]
        while messages[-1].get("data", {}).get("status") != "finished":
            messages.append(await viewer.next())

    assert [message["type"] for message in messages].count("result") == 2
    assert messages[-1]["data"]["actual_results"] == 2


async def test_a_campaign_whose_rows_have_expired_is_finished(fleet, admin, live_query, watching, quick_news):
    campaign = await live_query.campaign([await fleet.host("a")])
    await live_query.complete(campaign)

    async with watching(admin, campaign) as viewer:
        await viewer.next("totals")
        statuses = [(await viewer.next("status"))["data"]["status"]]
        while statuses[-1] != "finished":
            statuses.append((await viewer.next("status"))["data"]["status"])

    assert statuses[-1] == "finished"


HOSTILE = [
    b'[{"a":"\\ud800"}]',
    b'[{"a":"\xff\xfe"}]',
    b'[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    b'[{"a":1e999}]',
    b'[{"host_hostname":"spoofed"}]',
    b"not json",
    b'{"a":"1"}',
]


async def test_no_hosts_rows_can_take_viewers_away(fleet, admin, live_query, watching):
    hosts = [await fleet.host(f"host-{number}") for number in range(len(HOSTILE) + 1)]
    campaign = await live_query.campaign(hosts)
    for host, rows in zip(hosts, HOSTILE, strict=False):
        await live_query.answer(campaign, host, rows)
    await live_query.answer(campaign, hosts[-1])

    async with watching(admin, campaign) as viewer:
        results = await viewer.results(len(hosts))

    values = [[row.get("a") for row in result["rows"]] for result in results]
    assert values[:2] == [["?"], ["\ufffd\ufffd"]]
    assert [len(found) for found in values[2:]] == [0, 1, 1, 0, 0, 1]
    assert results[4]["rows"][0]["host_hostname"] == "host-4"


async def test_a_host_that_is_gone_is_shown_without_a_name(fleet, admin, live_query, watching):
    campaign = await live_query.campaign([77])
    await live_query.answer(campaign, 77)

    async with watching(admin, campaign) as viewer:
        [result] = await viewer.results(1)

    assert result["host"] == {"id": 77, "hostname": "", "display_name": ""}


async def test_a_field_that_newer_writers_add_does_no_harm(fleet, admin, live_query, watching):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])
    await live_query.answer(campaign, host, something_new="x")

    async with watching(admin, campaign) as viewer:
        assert len(await viewer.results(1)) == 1


async def test_a_viewer_that_leaves_leaves_nothing_behind(fleet, admin, live_query, watching, deps):
    campaign = await live_query.campaign([await fleet.host("a")])

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")

    await eventually(lambda: deps.views.viewers == 0)
    await live_query.answer(campaign, 1)
    assert await live_query.redis.xlen(campaign_rows(campaign)) == 1


async def test_a_status_tells_how_far_a_ramp_is(fleet, admin, live_query, watching, database, quick_news):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts, budget=Budget(hosts_at_a_time=1))

    async with watching(admin, campaign) as viewer:
        before = (await viewer.next("status"))["data"]["ramp"]
        async with database.sessions("live_query").begin() as session:
            row = update(LedgerRow).where(col(LedgerRow.host_id) == hosts[0])
            await session.execute(row.values(released_at=datetime.now(UTC)))
        after = (await viewer.next("status"))["data"]["ramp"]

    assert before == {"hosts_at_a_time": 1, "asked": 0, "waiting": 3}
    assert after == {"hosts_at_a_time": 1, "asked": 1, "waiting": 2}
