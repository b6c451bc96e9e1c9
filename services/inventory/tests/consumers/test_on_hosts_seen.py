"""Last seen: batched, only forwards, through outages; and who is online."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from flotilla_common.contracts.hosts import HostsSeenV1
from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from flotilla_common.testing import eventually
from inventory.consumers.log_gaps import count
from inventory.consumers.on_hosts_seen import write
from inventory.domain.seen_hosts import SeenHosts
from inventory.metrics import LOG_GAPS
from pyroaring import BitMap
from sqlalchemy import NullPool, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import col


def bitmap(*host_ids: int) -> str:
    return base64.b64encode(BitMap(host_ids).serialize()).decode()


def report(seen_at, *host_ids: int, logged: str = "") -> HostsSeenV1:
    return HostsSeenV1(bitmap=bitmap(*host_ids), seen_at=seen_at, logged=logged)


async def seen_times(database) -> dict[int, object]:
    return {row.host_id: row.seen_at for row in await database.rows(HostSeen)}


async def logged_times(database) -> dict[int, object]:
    return {row.host_id: row.logged_at for row in await database.rows(HostSeen)}


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

    await write(seen, SeenHosts(), deps)

    assert await seen_times(database) == before


async def test_hosts_that_do_not_exist_get_no_row(deps, hosts, clock, database):
    seen = SeenHosts()
    seen.add(BitMap([*hosts, 9999]), clock.now + timedelta(seconds=1))

    await write(seen, SeenHosts(), deps)

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


async def test_when_lines_of_a_host_last_came_is_written_beside(running, hosts, gateway, clock, database):
    first, second, third = hosts
    clock.now += timedelta(minutes=5)
    early = clock.now
    await gateway.send(report(clock.now, first, second, logged=bitmap(first, third)))

    await eventually(lambda: _are(database, {first: early, second: None, third: early}))
    clock.now += timedelta(minutes=5)
    await gateway.send(report(clock.now, *hosts, logged=bitmap(second)))

    await eventually(lambda: _are(database, {first: early, second: clock.now, third: early}))
    assert set((await seen_times(database)).values()) == {clock.now}


async def _are(database, wanted: dict[int, object]) -> bool:
    return await logged_times(database) == wanted


async def test_a_garbled_bitmap_of_logs_changes_nothing(running, hosts, gateway, clock, database):
    before = await seen_times(database)
    clock.now += timedelta(minutes=5)
    await gateway.send(report(clock.now, hosts[0], logged="AAAA"))
    await gateway.send(report(clock.now, hosts[1]))

    async def written() -> bool:
        return (await seen_times(database))[hosts[1]] == clock.now

    await eventually(written)
    assert (await seen_times(database))[hosts[0]] == before[hosts[0]]


async def test_a_time_of_logs_only_grows_and_waits_through_an_outage(deps, hosts, clock, database):
    nobody_listens = create_async_engine("postgresql+psycopg://nobody:x@127.0.0.1:1/x", poolclass=NullPool)
    logged = SeenHosts()
    logged.add(BitMap(hosts[:1]), clock.now)
    await write(SeenHosts(), logged, replace(deps, sessions=async_sessionmaker(nobody_listens)))
    await write(SeenHosts(), logged, deps)
    logged.add(BitMap(hosts[:1]), clock.now - timedelta(hours=1))
    await write(SeenHosts(), logged, deps)

    assert await logged_times(database) == {hosts[0]: clock.now, hosts[1]: None, hosts[2]: None}


async def test_hosts_with_a_gap_are_counted(deps, hosts, clock, database):
    stopped, never, fine = hosts
    enrolled = clock.now
    clock.now += timedelta(hours=30)
    seen, logged = SeenHosts(), SeenHosts()
    seen.add(BitMap([stopped, never, fine]), clock.now)
    logged.add(BitMap([stopped]), enrolled)
    logged.add(BitMap([fine]), clock.now - timedelta(hours=23))
    await write(seen, logged, deps)

    await count(timedelta(hours=24), deps)
    found = {state: LOG_GAPS.labels(state)._value.get() for state in ("stopped", "never")}
    clock.now += timedelta(hours=30)  # now none of them is online
    await count(timedelta(hours=24), deps)

    assert found == {"stopped": 1, "never": 1}
    assert {state: LOG_GAPS.labels(state)._value.get() for state in ("stopped", "never")} == {"stopped": 0, "never": 0}


async def test_what_cannot_be_written_is_written_later(deps, hosts, clock, database):
    seen = SeenHosts()
    seen.add(BitMap(hosts), clock.now + timedelta(seconds=1))
    nobody_listens = create_async_engine("postgresql+psycopg://nobody:x@127.0.0.1:1/x", poolclass=NullPool)

    await write(seen, SeenHosts(), replace(deps, sessions=async_sessionmaker(nobody_listens)))
    kept = len(seen)
    await write(seen, SeenHosts(), deps)

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
