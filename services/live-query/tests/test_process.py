"""The real process: killed in the middle of settling it loses nothing and doubles nothing; told to stop, it stops."""

from __future__ import annotations

import asyncio
import os
import sys

import httpx2
from flotilla_common.contracts.campaigns import command_key
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service
from live_query.domain.carve_parts import object_of
from sqlalchemy import text

from .carving import SQL, cut, part_of, query_name
from .conftest import answer_to, verified

START_SECONDS = 60.0


async def test_killed_between_redis_and_the_ledger_it_comes_to_the_same_end(
    environment, deps, running, database, fleet, start, gateway, books
):
    hosts = await fleet.hosts(20)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    for host_id in hosts:
        await gateway.answer(host_id, answer_to(number, [{"host": str(host_id)}]))
    async with database.sessions().begin() as blocker:
        await blocker.execute(text("LOCK TABLE live_query.ledger IN EXCLUSIVE MODE"))  # reads go on, writes wait
        async with running_service("live_query", environment=environment):
            await eventually(lambda: books.hosts_seen(number), timeout=START_SECONDS)  # and now it is killed
        kept = await books.entries(number)
    middle = await books.count(number)
    async with running(deps):
        await eventually(lambda: books.is_complete(number), timeout=60.0)

    assert kept
    assert middle == {"pending": 20}
    assert await books.count(number) == {"answered": 20}
    assert (await books.entries(number))[: len(kept)] == kept  # what viewers saw is what counts
    assert sorted(await books.hosts_seen(number)) == hosts


async def test_killed_again_and_again_while_hosts_answer_it_counts_each_of_them_once(
    environment, deps, running, fleet, start, gateway, books
):
    hosts = await fleet.hosts(300)
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
    sending = asyncio.create_task(send_for_a_while(gateway, hosts, number))
    for least in (20, 150):
        async with running_service("live_query", environment=environment):
            await eventually(lambda least=least: settled(books, number, least), timeout=START_SECONDS)
    await sending
    async with running(deps):
        await eventually(lambda: books.is_complete(number), timeout=60.0)

    assert await books.count(number) == {"answered": 300}
    assert sorted(await books.hosts_seen(number)) == hosts


async def test_it_runs_as_its_settings_say_and_sigterm_stops_it(
    environment, deps, fleet, start, gateway, books, signing_key
):
    [host_id, _] = await fleet.hosts(2)
    async with running_service("live_query", environment=environment) as service:
        await service.ready()
        number = (await start(label_ids=[1])).campaign_id
        command = await deps.bucket.get(command_key(number))
        await gateway.answer(host_id, answer_to(number))
        await eventually(lambda: settled(books, number, 1), timeout=30.0)
        metrics = await metrics_of(service)
        async with asyncio.timeout(10):  # well below the 30 s after which nats-py gives up draining
            code = await service.stop()

    assert code == 0
    assert command is not None
    assert verified(command, signing_key.public_key()).campaign_id == number
    assert 'flotilla_live_query_answers_total{outcome="answered"} 1.0' in metrics
    assert "flotilla_live_query_keeper 1.0" in metrics


async def test_wrong_settings_are_told_at_start(environment):
    wrong = {**os.environ, **environment, "FLOTILLA_SIGNING_KEY_FILE": "/dev/null", "FLOTILLA_HOST_ROWS": "many"}
    del wrong["FLOTILLA_REDIS_URL"]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "live_query", env=wrong, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(child.communicate(), timeout=START_SECONDS)

    assert child.returncode == 2
    for name in (b"FLOTILLA_SIGNING_KEY", b"FLOTILLA_HOST_ROWS", b"FLOTILLA_REDIS_URL"):
        assert name in errors


async def metrics_of(service) -> str:
    async with httpx2.AsyncClient(timeout=10.0) as client:
        return (await client.get(f"http://127.0.0.1:{service.health_port}/metrics")).text


async def send_for_a_while(gateway, hosts: list[int], campaign_id: int) -> None:
    for host_id in hosts:
        await gateway.answer(host_id, answer_to(campaign_id))
        await asyncio.sleep(0.02)


async def settled(books, campaign_id: int, least: int) -> bool:
    return (await books.count(campaign_id))["answered"] >= least


async def test_killed_between_the_blob_store_and_the_record_it_loses_no_block_and_counts_each_once(
    environment, deps, running, database, fleet, start, carving, blobs
):
    hosts = await fleet.hosts(20)
    async with running(deps):
        number = (await start(host_ids=hosts, sql=SQL)).campaign_id
        for host_id in hosts:
            await carving.begin(host_id, query_name(number))
    carves = await carving.carves()
    contents = {carve.id: bytes([carve.id]) * 250 for carve in carves}
    parts = [
        part_of(carve.id, carve.host_id, block_id, block)
        for carve in carves
        for block_id, block in enumerate(cut(contents[carve.id]))
    ]
    await carving.send(*parts)
    async with database.sessions().begin() as blocker:
        await blocker.execute(text("LOCK TABLE live_query.carve_blocks IN EXCLUSIVE MODE"))  # reads go on, writes wait
        async with running_service("live_query", environment=environment):
            await eventually(lambda: blobs.get(object_of(parts[0])), timeout=START_SECONDS)  # and now it is killed
    middle = await carving.blocks()
    async with running(deps):
        await eventually(carving.is_complete, timeout=60.0)

    assert middle == []
    assert {(carve.blocks_stored, carve.bytes_stored, carve.error) for carve in await carving.carves()} == {
        (3, 250, None)
    }
    assert [await blobs.get(object_of(part)) for part in parts] == [part.data for part in parts]
