"""Bucket PLANS: hosts get the intervals of their team and platform, and the online rule follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from flotilla_common.bus.buckets import Bucket, open_bucket
from flotilla_common.contracts.plans import BUCKET, PlanHead, class_key, head_key
from flotilla_common.db.models.inventory import Host, HostSeen, online_clause
from flotilla_common.testing import eventually
from inventory.consumers.on_plans import write
from inventory.domain.intervals import PlannedIntervals
from inventory.store.intervals import Intervals
from sqlalchemy import select
from sqlmodel import col

UBUNTU = {"os_version": {"platform": "ubuntu"}}
DEFAULTS = (10, 60, 10)

IntervalsOf = Callable[[int], Awaitable[tuple[int, int, int]]]


def head(
    revision: int, distributed: int | None, refresh: int | None, logger: int | None, *, team_id: int | None = None,
    labels: tuple[int, ...] = (),
) -> PlanHead:  # fmt: skip
    return PlanHead(
        class_key=class_key(team_id, "ubuntu", labels), team_id=team_id, platform="ubuntu", scope_labels=labels,
        revision=revision, config_sha256="0" * 64, etag="e", compiled_at="2026-11-24T05:30:00Z",
        distributed_interval_seconds=distributed, config_refresh_seconds=refresh, logger_tls_period_seconds=logger,
    )  # fmt: skip


@pytest.fixture
async def plans(bus_for) -> Bucket:
    """The bucket as config-merger, its one writer."""
    return await open_bucket(await bus_for("config_merger"), BUCKET)


async def put(plans: Bucket, plan: PlanHead) -> None:
    await plans.put(head_key(plan.class_key), plan.model_dump_json().encode())


@pytest.fixture
def intervals_of(database) -> IntervalsOf:
    async def read(host_id: int) -> tuple[int, int, int]:
        [host] = [row for row in await database.rows(Host) if row.id == host_id]
        return host.distributed_interval_seconds, host.config_refresh_seconds, host.logger_tls_period_seconds

    return read


async def enrolled(enroll, identifier: str, **members) -> int:
    return (await enroll(identifier, host_details=UBUNTU, **members)).host.host_id


async def test_an_edit_reaches_the_hosts_of_its_team_and_platform_alone(
    running, enroll, definitions, plans, intervals_of
):
    team = await definitions.team("Servers")
    await definitions.secret("of-servers", team)
    inside, outside = await enrolled(enroll, "A-1", secret="of-servers"), await enrolled(enroll, "A-2")
    other = (await enroll("A-3", "of-servers", host_details={"os_version": {"platform": "darwin"}})).host.host_id

    await put(plans, head(1, 3600, 1800, 20, team_id=team))

    async def is_written() -> bool:
        return await intervals_of(inside) == (3600, 1800, 20)

    await eventually(is_written)
    assert [await intervals_of(host) for host in (outside, other)] == [DEFAULTS] * 2


async def test_what_a_plan_does_not_set_any_more_is_taken_back(running, enroll, plans, intervals_of):
    host = await enrolled(enroll, "A-1")

    async def is_now(*seconds: int) -> None:
        async def holds() -> bool:
            return await intervals_of(host) == seconds

        await eventually(holds)

    await put(plans, head(1, 300, None, None))
    await is_now(300, 60, 10)
    await put(plans, head(2, None, 120, 4))
    await is_now(10, 120, 4)


async def test_a_host_that_polls_rarely_is_online_until_its_own_window_is_over(running, enroll, plans, deps, database):
    host = await enrolled(enroll, "A-1")
    await put(plans, head(1, 600, 600, 10))

    async def is_online(seconds: int) -> bool:
        moment = deps.clock() + timedelta(seconds=seconds)
        statement = select(col(Host.id)).join(HostSeen, col(HostSeen.host_id) == col(Host.id), isouter=True)
        async with database.sessions("inventory")() as session:
            return host in (await session.execute(statement.where(online_clause(moment)))).scalars().all()

    await eventually(lambda: is_online(655))
    assert not await is_online(665)


async def test_hosts_that_enroll_or_move_later_get_the_intervals_of_where_they_are(
    deps, enroll, definitions, intervals_of
):
    team = await definitions.team("Servers")
    planned = PlannedIntervals()
    planned.take(head(1, 30, 90, 5))
    planned.take(head(1, 600, 900, 50, team_id=team))
    host = await enrolled(enroll, "A-1")
    await write(planned.all(), deps)
    before = await intervals_of(host)
    await definitions.secret("of-servers", team)
    await enrolled(enroll, "A-1", secret="of-servers")

    await write(planned.all(), deps)

    assert (before, await intervals_of(host)) == ((30, 90, 5), (600, 900, 50))


async def test_the_process_looks_at_all_hosts_now_and_then(deps, enroll, plans, intervals_of, listening):
    await put(plans, head(1, 30, 90, 5))
    async with listening(deps, sweep_seconds=0.2):
        first = await enrolled(enroll, "A-1")

        async def has_them(host: int) -> bool:
            return await intervals_of(host) == (30, 90, 5)

        await eventually(lambda: has_them(first))
        second = await enrolled(enroll, "A-2")
        await eventually(lambda: has_them(second))


async def test_many_hosts_are_written_in_several_transactions(deps, enroll, intervals_of, monkeypatch):
    monkeypatch.setattr("inventory.consumers.on_plans.BATCH", 2)
    hosts = [await enrolled(enroll, f"A-{number}") for number in range(5)]

    await write({(None, "ubuntu"): Intervals(30, 90, 5), (7, ""): Intervals(1, 1, 1)}, deps)

    assert [await intervals_of(host) for host in hosts] == [(30, 90, 5)] * 5


def test_an_older_plan_of_another_class_changes_nothing():
    planned = PlannedIntervals()
    planned.take(head(5, 30, 90, 5))
    planned.take(head(4, 10, 60, 10, labels=(1,)))

    assert planned.take_news() == {(None, "ubuntu"): Intervals(30, 90, 5)}
    assert planned.take_news() == {}


def test_the_same_intervals_in_a_newer_plan_are_no_news():
    planned = PlannedIntervals()
    planned.take(head(1, 30, 90, 5))
    planned.take_news()
    planned.take(head(2, 30, 90, 5))

    assert not planned.news.is_set()
