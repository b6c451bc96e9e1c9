"""Last seen: batched, only forwards, through outages; and who is online."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import HostsSeenV1
from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from flotilla_common.testing import eventually
from inventory.consumers.on_hosts_seen import write
from inventory.domain.seen_hosts import SeenHosts
from pyroaring import BitMap
from sqlalchemy import NullPool, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import col


def report(seen_at, *host_ids: int) -> HostsSeenV1:
    return HostsSeenV1(bitmap=base64.b64encode(BitMap(host_ids).serialize()).decode(), seen_at=seen_at)


async def seen_times(database) -> dict[int, object]:
    return {row.host_id: row.seen_at for row in await database.rows(HostSeen)}


@pytest.fixture
async def hosts(enroll):
    return [(await enroll(f"A-{number}")).host.host_id for number in range(3)]


async def test_a_gateways_report_is_written_within_moments(running, hosts, gateway, clock, database):
    first, second, third = hosts
    clock.now += timedelta(minutes=5)

    await gateway.send(report(clock.now, first, second))

    async def written() -> bool:
        times = await seen_times(database)
        return times[first] == times[second] == clock.now

    await eventually(written)
    assert (await seen_times(database))[third] == clock.now - timedelta(minutes=5)


async def test_a_time_only_grows(deps, hosts, clock, database):
    before = await seen_times(database)
    seen = SeenHosts()
    seen.add(BitMap(hosts), clock.now - timedelta(hours=1))

    await write(seen, deps)

    assert await seen_times(database) == before


async def test_hosts_that_do_not_exist_get_no_row(deps, hosts, clock, database):
    seen = SeenHosts()
    seen.add(BitMap([*hosts, 9999]), clock.now + timedelta(seconds=1))

    await write(seen, deps)

    assert set(await seen_times(database)) == set(hosts)


async def test_garbage_and_clocks_that_are_ahead_do_no_harm(running, hosts, gateway, clock, database):
    clock.now += timedelta(minutes=5)
    await gateway.client.publish(HostsSeenV1.subject, b"garbage")
    await gateway.client.publish(HostsSeenV1.subject, b'{"bitmap":"","seen_at":"2026-01-01T00:00:00Z"}')
    await gateway.client.publish(HostsSeenV1.subject, b'{"bitmap":"AAAA","seen_at":"2026-01-01T00:00:00Z"}')
    await gateway.send(report(clock.now + timedelta(days=1), hosts[0]))

    async def written() -> bool:
        return (await seen_times(database))[hosts[0]] == clock.now

    await eventually(written)


async def test_what_cannot_be_written_is_written_later(deps, hosts, clock, database):
    seen = SeenHosts()
    seen.add(BitMap(hosts), clock.now + timedelta(seconds=1))
    nobody_listens = create_async_engine("postgresql+psycopg://nobody:x@127.0.0.1:1/x", poolclass=NullPool)

    await write(seen, replace(deps, sessions=async_sessionmaker(nobody_listens)))
    kept = len(seen)
    await write(seen, deps)

    assert kept == 3
    assert set((await seen_times(database)).values()) == {clock.now + timedelta(seconds=1)}


@pytest.mark.parametrize(
    ("distributed", "config", "seconds", "expected"),
    [(10, 60, 69, True), (10, 60, 71, False), (300, 30, 89, True), (300, 30, 91, False)],
)
async def test_a_host_is_online_for_its_shorter_interval_and_a_minute(
    hosts, clock, database, distributed, config, seconds, expected
):
    async with database.sessions().begin() as session:
        await session.execute(
            update(Host).values(distributed_interval_seconds=distributed, config_refresh_seconds=config)
        )
    statement = select(col(Host.id)).join(HostSeen, col(HostSeen.host_id) == col(Host.id), isouter=True)

    async with database.sessions("inventory")() as session:
        online = (await session.execute(statement.where(online_clause(clock.now + timedelta(seconds=seconds))))).all()

    assert len(online) == (3 if expected else 0)
