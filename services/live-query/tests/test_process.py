"""The real process: killed in the middle of settling it loses nothing and doubles nothing; told to stop, it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flotilla_common.contracts.campaigns import command_key
from flotilla_common.testing import eventually
from live_query.domain.signing import verify
from sqlalchemy import text

from .conftest import answer_to

Environment = dict[str, str]
START_SECONDS = 60.0


@pytest.fixture
def environment(
    service_environment: Callable[[str], Environment], signing_key, tmp_path: Path, free_port: int
) -> Environment:
    path = tmp_path / "signing.key"
    path.write_bytes(signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {
        **os.environ,
        **service_environment("live_query"),
        "FLOTILLA_SIGNING_KEY_FILE": str(path),
        "FLOTILLA_HEALTH_PORT": str(free_port),
    }


@asynccontextmanager
async def process(environment: Environment) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replica that is ready; killed at the end unless it has ended by itself."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "live_query", env=environment)
    try:
        await eventually(lambda: is_ready(environment), timeout=START_SECONDS)
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def is_ready(environment: Environment) -> bool:
    return (await get(environment, "/readyz")) is not None


async def get(environment: Environment, path: str) -> str | None:
    async with httpx2.AsyncClient(timeout=5.0) as client:
        try:
            answer = await client.get(f"http://127.0.0.1:{environment['FLOTILLA_HEALTH_PORT']}{path}")
        except httpx2.TransportError:
            return None
    return answer.text if answer.status_code == 200 else None


async def test_killed_between_redis_and_the_ledger_it_comes_to_the_same_end(
    environment, database, fleet, start, gateway, books
):
    hosts = await fleet.hosts(20)
    async with process(environment):
        campaign = await start(label_ids=[1])
    number = campaign.campaign_id
    for host_id in hosts:
        await gateway.answer(host_id, answer_to(number, [{"host": str(host_id)}]))
    async with database.sessions().begin() as blocker:
        await blocker.execute(text("LOCK TABLE live_query.ledger IN EXCLUSIVE MODE"))  # reads go on, writes wait
        async with process(environment):
            await eventually(lambda: books.hosts_seen(number), timeout=30.0)
        kept = await books.entries(number)
    middle = await books.count(number)
    async with process(environment):
        await eventually(lambda: books.is_complete(number), timeout=60.0)

    assert kept
    assert middle == {"pending": 20}
    assert await books.count(number) == {"answered": 20}
    entries = await books.entries(number)
    assert entries[: len(kept)] == kept  # what viewers saw is what counts
    assert sorted(await books.hosts_seen(number)) == hosts


async def test_killed_again_and_again_while_hosts_answer_it_counts_each_of_them_once(
    environment, fleet, start, gateway, books
):
    hosts = await fleet.hosts(300)
    sending: asyncio.Task[None] | None = None
    number = 0
    for least in (20, 120, 220):
        async with process(environment):
            if sending is None:
                number = (await start(label_ids=[1])).campaign_id
                sending = asyncio.create_task(send_for_a_while(gateway, hosts, number))
            await eventually(lambda which=number, least=least: settled(books, which, least), timeout=60.0)
    assert sending is not None
    await sending
    async with process(environment):
        await eventually(lambda: books.is_complete(number), timeout=60.0)

    assert await books.count(number) == {"answered": 300}
    assert sorted(await books.hosts_seen(number)) == hosts


async def test_it_runs_as_its_settings_say_and_sigterm_stops_it_within_seconds(
    environment, deps, fleet, start, gateway, books, signing_key
):
    [host_id, _] = await fleet.hosts(2)
    async with process(environment) as child:
        campaign = await start(label_ids=[1])
        command = await deps.bucket.get(command_key(campaign.campaign_id))
        await gateway.answer(host_id, answer_to(campaign.campaign_id))
        await eventually(lambda: settled(books, campaign.campaign_id, 1), timeout=30.0)
        metrics = await get(environment, "/metrics")
        child.send_signal(signal.SIGTERM)
        ended = await asyncio.wait_for(child.wait(), timeout=8.0)

    assert ended == 0
    assert command is not None
    assert verify(command, signing_key.public_key()) is not None
    assert metrics is not None
    assert 'flotilla_live_query_answers_total{outcome="answered"} 1.0' in metrics
    assert "flotilla_live_query_keeper 1.0" in metrics


@pytest.mark.parametrize(
    "wrong",
    [{"FLOTILLA_SIGNING_KEY_FILE": "/dev/null"}, {"FLOTILLA_REDIS_URL": None}, {"FLOTILLA_HOST_ROWS": "many"}],
)
async def test_wrong_settings_are_told_at_start(environment, wrong):
    settings = {name: value for name, value in {**environment, **wrong}.items() if value is not None}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "live_query", env=settings, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(child.communicate(), timeout=START_SECONDS)

    assert child.returncode == 2
    assert next(iter(wrong)).removesuffix("_FILE").encode() in errors


async def send_for_a_while(gateway, hosts: list[int], campaign_id: int) -> None:
    for host_id in hosts:
        await gateway.answer(host_id, answer_to(campaign_id))
        await asyncio.sleep(0.02)


async def settled(books, campaign_id: int, least: int) -> bool:
    return (await books.count(campaign_id))["answered"] >= least
