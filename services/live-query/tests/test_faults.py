"""Faults of what live-query stands on: answers wait, the ledger balances, nothing is buried, all resumes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from flotilla_common.bus import consumer
from flotilla_common.contracts.campaigns import command_key
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from flotilla_stack.servers import RunningServer, Valkey
from live_query.consumers.on_campaign_answers import DURABLE
from redis._parsers import BaseParser
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from .conftest import Books, answer_to


@dataclass
class OwnRedis:
    """A server that a test may stop: the run's own one belongs to all."""

    running: RunningServer[Valkey]

    @property
    def url(self) -> str:
        return self.running.server.url()


@pytest.fixture
async def own_redis(tmp_path) -> AsyncIterator[OwnRedis]:
    with ExitStack() as stack:
        running = RunningServer(Valkey(tmp_path / "valkey", password="test", durable=True))
        stack.enter_context(running)
        yield OwnRedis(running)


@pytest.fixture
async def own_books(database, own_redis) -> AsyncIterator[Books]:
    async with Redis.from_url(own_redis.url) as client:
        yield Books(database, client)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(consumer, "OUTAGE_DELAY_SECONDS", 0.3)


async def test_redis_is_stopped_during_answers_and_started_again(
    make_deps, running, fleet, start, gateway, own_redis, own_books
):
    hosts = await fleet.hosts(30)
    deps = await make_deps(own_redis.url)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        await answer_all(gateway, hosts[:10], number)
        await eventually(lambda: has(own_books, number, "answered", 10), timeout=30)
        own_redis.running.stop()
        await answer_all(gateway, hosts[10:20], number)
        await eventually(lambda: was_tried(deps), timeout=30)
        during = await own_books.count(number)
        own_redis.running.start()
        await answer_all(gateway, hosts[20:], number)
        await eventually(lambda: own_books.is_complete(number), timeout=60)

    assert during == {"answered": 10, "pending": 20}
    assert await own_books.count(number) == {"answered": 30}
    assert sorted(await own_books.hosts_seen(number)) == hosts
    assert (await own_books.entries(number))[-1] == {"end": "complete"}


async def test_a_campaign_does_not_close_over_answers_that_wait_for_redis(
    make_deps, running, fleet, start, gateway, own_redis, own_books
):
    [answered, silent] = await fleet.hosts(2)
    deps = await make_deps(own_redis.url)
    async with running(deps):
        campaign = await start(kind="synchronous", wait_seconds=3.0, label_ids=[1])
        number = campaign.campaign_id
        own_redis.running.stop()
        await gateway.answer(answered, answer_to(number))
        await eventually(lambda: is_withdrawn(deps, number), timeout=30)  # its time is over
        await eventually(lambda: was_tried(deps), timeout=30)
        during = (await own_books.count(number), (await own_books.campaign(number)).status)
        own_redis.running.start()
        await eventually(lambda: own_books.is_complete(number), timeout=60)

    assert during == ({"pending": 2}, "open")
    assert await own_books.states(number) == {answered: "answered", silent: "expired"}


async def test_an_answer_to_a_watched_campaign_that_waited_out_an_outage_counts(
    deps, running, fleet, start, gateway, books, clock
):
    """For two minutes live-query ran nowhere; people watched on, and nobody could note it."""
    hosts = await fleet.hosts(2)
    clock.move(minutes=-2)
    async with running(deps):
        number = (await start(kind="viewer", label_ids=[1])).campaign_id
    await gateway.answer(hosts[0], answer_to(number))  # the stream's time is beyond the deadline
    clock.move(minutes=2)
    async with running(deps):
        await eventually(lambda: has(books, number, "answered", 1), timeout=30)

    assert await books.hosts_seen(number) == hosts[:1]


CANNOT_WRITE = {
    "NOREPLICAS": ({"min-replicas-to-write": 1}, {"min-replicas-to-write": 0}),
    "OOM": ({"maxmemory": 1}, {"maxmemory": 0}),
    "READONLY": ({"replicaof": "127.0.0.1 1"}, {"replicaof": "no one"}),
}


@pytest.mark.parametrize("why", sorted(CANNOT_WRITE))
async def test_answers_wait_while_redis_answers_that_it_cannot_write(
    make_deps, running, fleet, start, gateway, own_redis, own_books, monkeypatch, why
):
    monkeypatch.setattr(consumer, "RETRIES", 1)  # what counts as a bug is buried at once
    hosts = await fleet.hosts(3)
    deps = await make_deps(own_redis.url)
    refuse, allow = CANNOT_WRITE[why]
    async with running(deps):
        number = (await start(label_ids=[1])).campaign_id
        await configure(own_books.redis, refuse)
        await answer_all(gateway, hosts, number)
        await eventually(lambda: was_tried(deps), timeout=30)
        during = await own_books.count(number)
        await configure(own_books.redis, allow)
        await eventually(lambda: own_books.is_complete(number), timeout=60)

    assert during == {"pending": 3}
    assert await own_books.count(number) == {"answered": 3}
    assert sorted(await own_books.hosts_seen(number)) == hosts


@pytest.mark.parametrize("word", ["MISCONF", "NOREPLICAS", "BUSY"])
async def test_a_word_that_has_no_class_of_its_own_is_an_outage_in_every_call(make_deps, monkeypatch, word):
    deps = await make_deps()
    error = BaseParser.parse_error(f"{word} not now")

    async def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Redis, "execute_command", refuse)
    monkeypatch.setattr(Pipeline, "execute", refuse)
    for call in (deps.rows.check(), deps.rows.kept_for(1, [1]), deps.rows.end({1: "stopped"})):
        with pytest.raises(Unavailable, match=word):
            await call


async def configure(server: Redis, what: dict[str, object]) -> None:
    for name, value in what.items():
        if name == "replicaof":
            await server.replicaof(*str(value).split())
        else:
            await server.config_set(name, value)


async def test_what_redis_forgets_does_not_unsettle_the_ledger(deps, running, fleet, start, gateway, books):
    hosts = await fleet.hosts(20)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        await answer_all(gateway, hosts[:10], number)
        await eventually(lambda: has(books, number, "answered", 10), timeout=30)
        await books.redis.flushdb()
        await books.redis.script_flush()
        await answer_all(gateway, hosts[5:], number)
        await eventually(lambda: books.is_complete(number), timeout=30)

    assert await books.count(number) == {"answered": 20}
    assert sorted(await books.hosts_seen(number)) == hosts[10:]  # the rest was shown before, and lost
    assert (await books.entries(number))[-1] == {"end": "complete"}


async def test_nats_is_stopped_and_started_again(deps, running, fleet, start, gateway, books, nats_server):
    hosts = await fleet.hosts(10)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        await answer_all(gateway, hosts[:5], number)
        await eventually(lambda: has(books, number, "answered", 5), timeout=30)
        nats_server.running.stop()
        nats_server.running.start()
        await eventually(lambda: gateway.bus.client.is_connected, timeout=30)
        await answer_all(gateway, hosts[5:], number)
        await eventually(lambda: books.is_complete(number), timeout=60)

    assert await books.count(number) == {"answered": 10}
    assert sorted(await books.hosts_seen(number)) == hosts


async def test_every_database_connection_is_cut_while_answers_are_settled(
    deps, running, fleet, start, gateway, books, database
):
    hosts = await fleet.hosts(60)
    async with running(deps):
        campaign = await start(label_ids=[1])
        number = campaign.campaign_id
        sending = asyncio.create_task(answer_all(gateway, hosts, number))
        for least in (5, 20, 40):
            await eventually(lambda least=least: has_at_least(books, number, least), timeout=30)
            await database.cut_connections("live_query")
        await sending
        await eventually(lambda: books.is_complete(number), timeout=60)

    assert await books.count(number) == {"answered": 60}
    assert sorted(await books.hosts_seen(number)) == hosts


async def test_two_replicas_side_by_side_settle_everything_once(
    make_deps, running, fleet, start, gateway, books, inventory
):
    hosts = await fleet.hosts(60)
    first, second = await make_deps(), await make_deps()
    async with running(first):
        async with running(second):
            campaigns = [(await start(label_ids=[1])).campaign_id for _ in range(3)]
            await inventory.delete(hosts[0])
            for host_id in hosts[1:40]:
                await gateway.answer(host_id, *map(answer_to, campaigns))
                await gateway.answer(host_id, *map(answer_to, campaigns))
            for number in campaigns:
                await eventually(lambda which=number: has(books, which, "answered", 39), timeout=60)
        for host_id in hosts[40:]:  # the second one, which may have kept house, is gone
            await gateway.answer(host_id, *map(answer_to, campaigns))
        for number in campaigns:
            await eventually(lambda which=number: books.is_complete(which), timeout=60)

    for number in campaigns:
        assert await books.count(number) == {"answered": 59, "unreachable": 1}
        assert sorted(await books.hosts_seen(number)) == hosts[1:]
        assert [entry for entry in await books.entries(number) if "end" in entry] == [{"end": "complete"}]


async def answer_all(gateway, hosts: list[int], campaign_id: int) -> None:
    for host_id in hosts:
        await gateway.answer(host_id, answer_to(campaign_id))


async def has(books: Books, campaign_id: int, state: str, number: int) -> bool:
    return (await books.count(campaign_id))[state] == number


async def has_at_least(books: Books, campaign_id: int, number: int) -> bool:
    return (await books.count(campaign_id))["answered"] >= number


async def is_withdrawn(deps, campaign_id: int) -> bool:
    return await deps.bucket.get(command_key(campaign_id)) is None


async def was_tried(deps) -> bool:
    """Whether answers wait that live-query has tried in vain at least twice."""
    return bool((await deps.bus.js.consumer_info("ANSWERS", DURABLE)).num_redelivered)
