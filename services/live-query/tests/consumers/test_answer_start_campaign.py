"""StartCampaignV1: who is targeted, how long it lives, and what gateways are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import nats.errors
import pytest
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.clock import utc_now
from flotilla_common.contracts.campaigns import BUCKET, StartCampaignV1, command_key
from flotilla_common.contracts.streams import bucket_subject
from flotilla_common.db.models.live_query import Campaign
from flotilla_common.errors import FleetError, Invalid, Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import announcements, answer_start_campaign
from pyroaring import BitMap

from ..conftest import verified


@pytest.fixture
def command(deps, signing_key):
    """What gateways are told of a campaign, verified as they do."""

    async def read(campaign_id: int):
        value = await deps.bucket.get(command_key(campaign_id))
        return None if value is None else verified(value, signing_key.public_key())

    return read


async def test_gateways_get_a_signed_command_with_the_targets(deps, running, fleet, start, command, books):
    hosts = await fleet.hosts(3)
    async with running(deps):
        campaign = await start(sql="SELECT 'ü'", host_ids=hosts[:2], trace_id="0af7651916cd43dd8448eb211c80319c")
    told = await command(campaign.campaign_id)

    assert (told.campaign_id, told.sql, told.trace) == (
        campaign.campaign_id,
        "SELECT 'ü'",
        "0af7651916cd43dd8448eb211c80319c",
    )
    assert list(BitMap.deserialize(told.targets)) == hosts[:2]
    assert told.allowed_teams is None
    assert (await books.states(campaign.campaign_id)) == dict.fromkeys(hosts[:2], "pending")


async def test_the_counts_tell_hosts_by_state(deps, running, fleet, start):
    now = utc_now()
    await fleet.hosts(2)
    await fleet.hosts(1, created_at=now - timedelta(days=40), distributed_interval_seconds=-3600)
    [missing] = await fleet.hosts(1, created_at=now - timedelta(days=40))
    await fleet.last_seen(missing, now - timedelta(days=31))
    async with running(deps):
        counts = (await start(label_ids=[1])).counts

    assert (counts.total, counts.online, counts.offline) == (4, 2, 2)
    assert (counts.missing_in_action, counts.new) == (1, 2)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"labels": ["all"]}, {"a", "b", "c", "d"}),
        ({"labels": ["all", "red"]}, {"a", "b", "c", "d"}),
        ({"labels": ["linux"]}, {"a", "b"}),
        ({"labels": ["red"]}, {"b", "c"}),
        ({"labels": ["linux", "red"]}, {"b"}),
        ({"labels": ["red", "blue"]}, {"b", "c", "d"}),
        ({"teams": [1]}, {"a", "b"}),
        ({"teams": [0]}, {"d"}),
        ({"teams": [0, 2]}, {"c", "d"}),
        ({"labels": ["red"], "teams": [1]}, {"b"}),
        ({"labels": ["red"], "teams": [1], "hosts": ["d"]}, {"b", "d"}),
        ({"hosts": ["a", "c"]}, {"a", "c"}),
        ({"labels": ["all"], "allowed": [2, 0]}, {"c", "d"}),
        ({"hosts": ["a", "c"], "allowed": [1]}, {"a"}),
        ({"teams": [1, 2], "allowed": [2]}, {"c"}),
    ],
)
async def test_hosts_labels_and_teams_select_as_the_api_says(deps, running, fleet, start, books, selection, expected):
    red, blue = await fleet.regular_label("red"), await fleet.regular_label("blue")
    names = {"all": 1, "linux": 7, "red": red, "blue": blue}
    hosts = {
        "a": (await fleet.hosts(1, 1, 7))[0],
        "b": (await fleet.hosts(1, 1, 7, red))[0],
        "c": (await fleet.hosts(1, 2, red))[0],
        "d": (await fleet.hosts(1, None, blue))[0],
    }
    async with running(deps):
        campaign = await start(
            host_ids=[hosts[name] for name in selection.get("hosts", ())],
            label_ids=[names[name] for name in selection.get("labels", ())],
            team_ids=selection.get("teams", ()),
            allowed_team_ids=selection.get("allowed"),
        )

    assert set(await books.states(campaign.campaign_id)) == {hosts[name] for name in expected}


async def test_a_repeated_request_starts_nothing_and_gets_the_first_answer(deps, running, fleet, start, books):
    await fleet.hosts(3)
    request_id = uuid4()
    async with running(deps):
        first, *again = await asyncio.gather(*(start(label_ids=[1], request_id=request_id) for _ in range(4)))
        await fleet.hosts(1)
        again.append(await start(label_ids=[1], request_id=request_id))
        other = await start(label_ids=[1], request_id=uuid4())

    assert again == [first] * 4
    assert len(await books.ledger(first.campaign_id)) == 3
    assert {row.id for row in await books.database.rows(Campaign)} == {first.campaign_id, other.campaign_id}


async def test_a_request_id_of_somebody_elses_campaign_tells_nothing(deps, running, fleet, start):
    await fleet.hosts(1)
    request_id = uuid4()
    async with running(deps):
        await start(label_ids=[1], request_id=request_id)
        with pytest.raises(Invalid, match="another campaign"):
            await start(label_ids=[1], request_id=request_id, user_id=99)


async def test_the_teams_of_the_caller_go_to_the_gateways_too(deps, running, fleet, start, command):
    await fleet.hosts(1, 2)
    async with running(deps):
        campaign = await start(label_ids=[1], allowed_team_ids=[3, 2, 2])

    assert (await command(campaign.campaign_id)).allowed_teams == [2, 3]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"label_ids": [999]}, "no hosts targeted"),
        ({"host_ids": [999]}, "no hosts targeted"),
        ({}, "no hosts targeted"),
        ({"label_ids": [1], "allowed_team_ids": [5]}, "no hosts targeted"),
        ({"label_ids": [1], "allowed_team_ids": []}, "no hosts targeted"),
        ({"label_ids": [1], "sql": " \n"}, "empty"),
        ({"label_ids": [1], "sql": "SELECT '\x00'"}, "NUL"),
        ({"label_ids": [1], "sql": "x" * 300_000}, "longer"),
        ({"label_ids": [1], "trace_id": "no trace"}, "trace"),
        ({"label_ids": [1], "kind": "durable"}, "deadline"),
        ({"label_ids": [1], "kind": "durable", "deadline": utc_now() - timedelta(seconds=1)}, "passed"),
        ({"label_ids": [1], "kind": "durable", "deadline": utc_now() + timedelta(days=31)}, "30 days"),
        ({"label_ids": [1], "kind": "durable", "deadline": (utc_now() + timedelta(1)).replace(tzinfo=None)}, "zone"),
        ({"label_ids": [1], "kind": "viewer", "deadline": utc_now() + timedelta(hours=1)}, "durable"),
        ({"label_ids": [1], "kind": "synchronous"}, "wait"),
        ({"label_ids": [1], "kind": "synchronous", "wait_seconds": 0.0}, "wait"),
        ({"label_ids": [1], "kind": "synchronous", "wait_seconds": 1e9}, "wait"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_and_leaves_nothing(
    deps, running, fleet, start, database, members, message
):
    await fleet.hosts(1, 2)
    async with running(deps):
        with pytest.raises(Invalid, match=message):
            await start(**members)

    assert await deps.bucket.keys() == []


async def test_each_kind_lives_as_long_as_it_should(deps, running, fleet, start, command, books):
    await fleet.hosts(1)
    deadline = utc_now() + timedelta(days=29)
    async with running(deps):
        viewer = await start(kind="viewer", label_ids=[1])
        durable = await start(kind="durable", deadline=deadline, label_ids=[1])
        waiting = await start(kind="synchronous", wait_seconds=90.0, label_ids=[1])
    deadlines = {
        started.campaign_id: (await books.campaign(started.campaign_id)).deadline - started.created_at
        for started in (viewer, durable, waiting)
    }
    told = {
        started.campaign_id: (await command(started.campaign_id)).deadline - started.created_at.timestamp()
        for started in (viewer, durable, waiting)
    }

    assert (
        timedelta(seconds=60) <= deadlines[viewer.campaign_id] < timedelta(seconds=120)
    )  # a keeper that starts spares
    assert deadlines[durable.campaign_id] == deadline - durable.created_at
    assert deadlines[waiting.campaign_id] == timedelta(seconds=90)
    assert told[viewer.campaign_id] == pytest.approx(86_400)  # viewers keep it alive; its end is a withdrawal
    assert told[waiting.campaign_id] == pytest.approx(90)


async def test_a_command_that_a_crash_kept_from_the_bucket_is_put_by_housekeeping(
    deps, running, fleet, command, books, monkeypatch
):
    async def crash(*_: object) -> None:
        raise Unavailable("died before the put")

    hosts = await fleet.hosts(2)
    monkeypatch.setattr(announcements.commands, "put", crash)
    request = StartCampaignV1(sql="SELECT 1", query_id=None, user_id=1, host_ids=hosts)
    campaign = await answer_start_campaign.answer(request, deps)
    monkeypatch.undo()
    assert await command(campaign.campaign_id) is None

    async with running(deps):
        await eventually(lambda: command(campaign.campaign_id), timeout=30)

    assert await books.states(campaign.campaign_id) == dict.fromkeys(hosts, "pending")


async def test_a_command_whose_campaign_ended_is_removed_by_housekeeping(deps, running):
    await deps.bucket.put(command_key(12345), b"a command that outlived its campaign")
    async with running(deps):
        await eventually(lambda: is_empty(deps.bucket), timeout=30)


async def is_empty(bucket) -> bool:
    return await bucket.keys() == []


@pytest.mark.parametrize("service", ["admin_api", "agent_gateway", "inventory", "config_merger", "log_shipper"])
async def test_nobody_else_can_put_a_command_or_pose_as_live_query(bus_for, deps, service):
    stranger = await bus_for(service)
    errors: list[Exception] = []

    async def on_error(error: Exception) -> None:
        errors.append(error)

    stranger.client._error_cb = on_error
    await stranger.client.publish(bucket_subject(BUCKET, command_key(1)), b"FQC1 forged")
    await stranger.client.subscribe(StartCampaignV1.subject)
    await eventually(lambda: len(errors) >= 2)

    assert all("permissions violation" in str(error).lower() for error in errors)
    assert await deps.bucket.get(command_key(1)) is None


@pytest.mark.parametrize("service", ["agent_gateway", "inventory", "config_merger", "log_shipper", "analytics"])
async def test_only_admin_api_can_ask_for_a_campaign(bus_for, deps, running, fleet, service, monkeypatch):
    monkeypatch.setattr(StartCampaignV1, "timeout_seconds", 1.0)
    hosts = await fleet.hosts(1)
    request = StartCampaignV1(sql="SELECT 1", query_id=None, user_id=1, host_ids=hosts)
    async with running(deps):
        stranger = await bus_for(service)
        with pytest.raises((nats.errors.Error, FleetError)):
            await stranger.request(request)

    assert await deps.bucket.keys() == []


async def test_a_bucket_that_was_made_anew_is_filled_again(deps, running, fleet, start, command, bus_for):
    hosts = await fleet.hosts(1)
    async with running(deps):
        campaign = await start(host_ids=hosts)
        bucket = await open_bucket(deps.bus, BUCKET)
        await bucket.delete(command_key(campaign.campaign_id))  # as if it had been lost
        await announcements.repair(deps)

    assert await command(campaign.campaign_id) is not None
