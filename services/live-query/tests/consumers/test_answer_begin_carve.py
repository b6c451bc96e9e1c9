"""BeginCarveV1: which carves are taken, and what their session ids say."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from flotilla_common.contracts.campaigns import StopCampaignV1
from flotilla_common.contracts.carves import (
    SESSION_DOMAIN,
    BadCarve,
    CarveDiffers,
    CarveExpired,
    CarveOverBudget,
    CarveSession,
    CarveUnasked,
    request_digest,
    split_session,
)
from flotilla_common.db.models.inventory import Host
from flotilla_common.testing import eventually
from sqlalchemy import update
from sqlmodel import col

from ..carving import SQL, query_name
from ..conftest import CARVE_POLICY, answer_to


async def test_a_campaigns_host_gets_a_session_id_that_gateways_can_check(
    deps, running, fleet, start, carving, signing_key, clock
):
    [host] = await fleet.hosts(1, hostname="db-1")
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        session_id = await carving.begin(host, query_name(number), carve_guid="a1b2")

    carve = await carving.only()
    signature, payload = split_session(session_id)
    signing_key.public_key().verify(signature, SESSION_DOMAIN + payload)
    with pytest.raises(InvalidSignature):
        signing_key.public_key().verify(signature, payload)
    assert msgspec.json.decode(payload, type=CarveSession) == CarveSession(
        carve.id, host, request_digest(query_name(number)), 3, 100, int(carve.expires_at.timestamp())
    )
    assert carve.expires_at - carve.created_at == CARVE_POLICY.keep
    assert (carve.host_id, carve.campaign_id, carve.max_block, carve.error) == (host, number, -1, None)
    assert carve.name == f"db-1-{carve.created_at:%Y-%m-%dT%H:%M:%SZ}-a1b2"


async def test_copies_of_a_begin_at_once_are_one_carve_with_one_session_id(deps, running, fleet, start, carving):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        ids = await asyncio.gather(*(carving.begin(host, query_name(number)) for _ in range(8)))

    assert len(set(ids)) == 1
    await carving.only()


async def test_a_repeat_with_other_numbers_is_refused(deps, running, fleet, start, carving):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await carving.begin(host, query_name(number), 250)
        with pytest.raises(CarveDiffers):
            await carving.begin(host, query_name(number), 150)

    assert (await carving.only()).carve_size == 250


@pytest.mark.parametrize(
    "request_id", ["fleet_distributed_query_{}", "fleet_distributed_query_{}_3", "c38c77c5-1c25-489f-a83c-8be53a0d87ec"]
)
async def test_old_names_and_the_random_ids_of_the_newest_clients_find_the_campaign(
    deps, running, fleet, start, carving, request_id
):
    [host] = await fleet.hosts(1)
    async with running(deps):
        await start(host_ids=[host], sql="SELECT 1")
        number = (await start(host_ids=[host], sql="SELECT CARVE('/x')")).campaign_id
        await start(host_ids=[host], sql="SELECT 2")
        await carving.begin(host, request_id.format(number))

    assert (await carving.only()).campaign_id == number


async def test_who_was_not_asked_is_refused(deps, running, fleet, start, carving):
    asked, other = await fleet.hosts(2)
    async with running(deps):
        number = (await start(host_ids=[asked], sql=SQL)).campaign_id
        harmless = (await start(host_ids=[asked, other], sql="SELECT 1")).campaign_id
        attempts = [
            (other, query_name(number)),
            (other, "random"),
            (asked, query_name(harmless)),
            (asked, query_name(99_999)),
            (other, query_name(harmless)),
            (12_345, query_name(number)),
        ]
        for host_id, request_id in attempts:
            with pytest.raises(CarveUnasked):
                await carving.begin(host_id, request_id)

    assert await carving.carves() == []


async def test_a_campaign_that_ended_counts_for_an_hour(deps, running, fleet, start, carving, clock, gateway, books):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await gateway.answer(host, answer_to(number))
        await eventually(lambda: books.is_complete(number), timeout=30)
    ended_at = (await books.campaign(number)).ended_at
    clock.move(seconds=3590)
    async with running(deps):
        await carving.begin(host, query_name(number))
        clock.move(seconds=20)
        with pytest.raises(CarveUnasked):
            await carving.begin(host, query_name(number), carve_guid="later")

    assert (await carving.only()).created_at - ended_at < timedelta(hours=1)


async def test_a_deleted_host_is_refused(deps, running, fleet, start, carving):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await fleet.remove(host)
        with pytest.raises(CarveUnasked):
            await carving.begin(host, query_name(number))


async def test_without_a_campaign_it_is_taken_only_where_operators_say_so(
    make_deps, running, fleet, carving, with_carves
):
    [host] = await fleet.hosts(1)
    async with running(with_carves(await make_deps(), unasked=True)):
        await carving.begin(host, "a scheduled query's")

    assert (await carving.only()).campaign_id is None


@pytest.mark.parametrize(
    "numbers",
    [
        {"carve_size": 0},
        {"carve_size": 8 * 1024**3 + 1, "block_size": 1024**2, "block_count": 8193},
        {"block_size": 0},
        {"block_size": 256 * 1024**2 + 1, "block_count": 1},
        {"block_count": 0},
        {"block_count": 2},
        {"block_count": 4},
        {"carve_size": 1_000_001, "block_size": 1, "block_count": 1_000_001},
    ],
)
async def test_numbers_that_make_no_sense_are_refused(deps, running, fleet, start, carving, numbers):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        with pytest.raises(BadCarve):
            await carving.begin(host, query_name(number), **numbers)

    assert await carving.carves() == []


async def test_a_host_has_room_for_so_many_bytes_and_carves(deps, running, fleet, start, carving, with_carves):
    [host] = await fleet.hosts(1)
    async with running(deps):
        name = query_name((await start(host_ids=[host], sql=SQL)).campaign_id)
        await carving.begin(host, name, 9_000, carve_guid="a")
        with pytest.raises(CarveOverBudget):
            await carving.begin(host, name, 1_001, carve_guid="b")
        for guid in "cdef":
            await carving.begin(host, name, 250, carve_guid=guid)
        with pytest.raises(CarveOverBudget):
            await carving.begin(host, name, 1, carve_guid="g")
        await carving.begin(host, name, 9_000, carve_guid="a")  # a repeat needs no room

    assert [carve.carve_guid for carve in await carving.carves()] == list("acdef")


async def test_room_for_all_is_given_to_as_many_as_fit_however_many_begin_at_once(deps, running, fleet, start, carving):
    hosts = await fleet.hosts(40)
    async with running(deps):
        name = query_name((await start(host_ids=hosts, sql=SQL)).campaign_id)
        outcomes = await asyncio.gather(*(carving.begin(host, name, 1_000) for host in hosts), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, CarveOverBudget)]
    assert len(refused) == 40 - 25
    assert sum(carve.carve_size for carve in await carving.carves()) == CARVE_POLICY.total_bytes


async def test_expired_carves_give_their_room_back_and_do_not_begin_again(deps, running, fleet, start, carving, clock):
    [host] = await fleet.hosts(1)
    async with running(deps):
        name = query_name((await start(host_ids=[host], sql=SQL, deadline=clock() + timedelta(days=3))).campaign_id)
        await carving.begin(host, name, 10_000)
        clock.move(days=1, seconds=1)
        with pytest.raises(CarveExpired):
            await carving.begin(host, name, 10_000)
    async with running(deps):  # who keeps house looks at once
        await eventually(lambda: has_expired(carving), timeout=30)
        await carving.begin(host, name, 10_000, carve_guid="another")

    assert [bool(carve.expired_at) for carve in await carving.carves()] == [True, False]


async def has_expired(carving):
    return (await carving.carves())[0].expired_at


async def test_the_name_has_nothing_of_a_hosts_odd_characters(deps, running, fleet, start, carving, database):
    [host] = await fleet.hosts(1)
    async with database.sessions().begin() as session:
        odd = '../../etc/pass wd"\r\nX: <b>é' + "x" * 500
        await session.execute(update(Host).where(col(Host.id) == host).values(hostname=odd))
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await carving.begin(host, query_name(number), carve_guid="../'\n")

    name = (await carving.only()).name
    assert name.startswith("_.._etc_pass_wd_X_b_xx")
    assert len(name) < 200
    assert not set(name) & set("/\\\"'\r\n <>")


async def test_stopping_a_campaign_leaves_its_carves_to_come(deps, running, fleet, start, carving, admin):
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await admin.request(StopCampaignV1(campaign_id=number))
        await carving.begin(host, query_name(number))

    assert (await carving.only()).campaign_id == number
