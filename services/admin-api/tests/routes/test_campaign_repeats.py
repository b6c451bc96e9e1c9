"""A start that is not answered in time: asked again once under the same id, then the person is told what is unknown."""

from __future__ import annotations

import asyncio

import pytest
from flotilla_common.clock import utc_now
from flotilla_common.contracts.campaigns import CampaignStartedV1, StartCampaignV1, TargetCounts
from flotilla_common.db.models.admin_api import Query
from flotilla_common.errors import Unavailable

from .conftest import responding


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(StartCampaignV1, "timeout_seconds", 1.0)


async def test_a_start_that_is_not_answered_in_time_is_repeated_under_its_id(ask, fleet, admin, bus_for):
    host, asked = await fleet.host("a"), []

    async def late(request: StartCampaignV1, _: None) -> CampaignStartedV1:
        asked.append(request)
        if len(asked) == 1:
            await asyncio.Event().wait()
        counts = TargetCounts(total=1, online=1, offline=0, missing_in_action=0, new=0)
        return CampaignStartedV1(campaign_id=7, created_at=utc_now(), counts=counts)

    async with responding(await bus_for("live_query"), (StartCampaignV1, late)):
        answer = await ask(admin, "POST /queries/run", {"query": "SELECT 1", "selected": {"hosts": [host]}})

    assert (answer.status_code, answer.json()["campaign"]["id"]) == (200, 7)
    assert asked[0].request_id is not None
    assert asked == [asked[0]] * 2


async def silent(_request: StartCampaignV1, _: None):
    await asyncio.Event().wait()


async def test_a_person_is_told_when_nobody_knows_whether_a_live_query_runs(ask, fleet, admin, bus_for):
    host = await fleet.host("a")

    async with responding(await bus_for("live_query"), (StartCampaignV1, silent)):
        answer = await ask(admin, "POST /queries/run", {"query": "SELECT 1", "selected": {"hosts": [host]}})

    assert answer.status_code == 503
    assert "may be running" in answer.text


async def test_a_live_query_may_be_running_when_only_the_repeat_finds_nobody(ask, fleet, admin, bus_for):
    host, asked = await fleet.host("a"), []

    async def fail(request: StartCampaignV1, _: None):
        asked.append(request)
        if len(asked) == 1:
            await asyncio.Event().wait()
        raise Unavailable("a part is down")

    async with responding(await bus_for("live_query"), (StartCampaignV1, fail)):
        answer = await ask(admin, "POST /queries/run", {"query": "SELECT 1", "selected": {"hosts": [host]}})

    assert answer.status_code == 503
    assert "may be running" in answer.text


@pytest.mark.parametrize(
    "where", ["/queries/run", "/queries/run_by_identifiers", "/hosts/{host}/query", "/queries/{query}/run"]
)
async def test_who_asked_what_is_on_record_when_nobody_knows_whether_it_runs(
    ask, fleet, admin, news, bus_for, database, where
):
    host, query = await fleet.host("a"), await fleet.query("Ports")
    saved = where.startswith("/queries/{query}")
    hosts = ["a"] if where.endswith("identifiers") else [host]
    body = {"host_ids": hosts} if saved else {"query": "SELECT 1", "selected": {"hosts": hosts}}

    async with responding(await bus_for("live_query"), (StartCampaignV1, silent)):
        answer = await ask(admin, "POST " + where.format(host=host, query=query), body)

    [(kind, details)] = await news.activities()
    assert (answer.status_code, kind, details["targets_count"]) == (503, "live_query", None)
    assert details.get("query_name") == ("Ports" if saved else None)
    assert details["query_sql"] in {row.query for row in await database.rows(Query)}


async def test_what_is_not_started_is_not_on_record(ask, fleet, admin, news):
    host = await fleet.host("a")

    answer = await ask(admin, "POST /queries/run", {"query": "SELECT 1", "selected": {"hosts": [host]}})

    assert answer.status_code == 503
    assert "may be running" not in answer.text
    assert await news.activities() == []
