"""Carves expire: contents go, what is known stays."""

from __future__ import annotations

import pytest
from flotilla_common.contracts.carves import carve_folder
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import carve_expiry, on_carve_parts
from live_query.consumers.carve_expiry import expire_carves

from ..carving import SQL, part_of, query_name

HOUR_SECONDS = 3600


@pytest.fixture
async def carve(deps, running, fleet, start, carving):
    """A carve with both of its blocks."""
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await carving.begin(host, query_name(number), 150)
    carve = await carving.only()
    await on_carve_parts.handle([part_of(carve.id, host, 0, b"a" * 100), part_of(carve.id, host, 1, b"b" * 50)], deps)
    return carve


async def test_after_a_day_the_contents_are_gone_and_the_rest_stays(deps, running, carve, carving, clock):
    before = await carving.only()
    clock.move(days=1)
    async with running(deps):
        await eventually(lambda: is_swept(carving, 1), timeout=30)

    after = await carving.only()
    assert await deps.blobs.delete_folder(carve_folder(carve.id)) == 0
    assert await carving.blocks() == []
    assert after.expired_at is not None
    assert (after.name, after.max_block, after.completed_at) == (before.name, 1, before.completed_at)


async def test_a_moment_before_nothing_happens(deps, carve, carving, clock):
    clock.move(days=1, seconds=-60)
    await expire_carves(deps)

    assert (await carving.only()).expired_at is None
    assert len(await carving.blocks()) == 2


async def test_what_a_crash_left_behind_goes_an_hour_later(deps, carve, carving, clock):
    clock.move(days=1)
    await expire_carves(deps)
    await deps.blobs.put(f"{carve_folder(carve.id)}/left-behind", b"x")
    await expire_carves(deps)
    clock.move(seconds=HOUR_SECONDS)
    await expire_carves(deps)

    assert await deps.blobs.delete_folder(carve_folder(carve.id)) == 0
    assert await is_swept(carving, 2)


async def test_an_outage_of_the_blob_store_delays_the_deletion(deps, carve, carving, clock, monkeypatch):
    async def refuse(folder, limit):
        raise Unavailable("the store is away")

    clock.move(days=1)
    with monkeypatch.context() as patch:
        patch.setattr(deps.blobs, "delete_folder", refuse)
        with pytest.raises(Unavailable):
            await expire_carves(deps)
    told = await carving.only()
    await expire_carves(deps)

    assert (told.sweeps, bool(told.expired_at)) == (0, True)
    assert await is_swept(carving, 1)
    assert await deps.blobs.delete_folder(carve_folder(carve.id)) == 0


async def test_so_many_objects_go_at_a_time_and_the_rest_the_next_time(deps, carve, carving, clock, monkeypatch):
    monkeypatch.setattr(carve_expiry, "OBJECTS", 2)
    clock.move(days=1)
    for number in range(3):
        await deps.blobs.put(f"{carve_folder(carve.id)}/more-{number}", b"x")
    sweeps = []
    for _ in range(3):
        await expire_carves(deps)
        sweeps.append((await carving.only()).sweeps)

    assert sweeps == [0, 0, 1]
    assert await deps.blobs.delete_folder(carve_folder(carve.id)) == 0


async def test_the_contents_of_other_carves_stay(deps, carve, carving, clock):
    await deps.blobs.put(f"{carve_folder(carve.id)}5/a", b"x")  # its name begins alike
    clock.move(days=1)
    await expire_carves(deps)

    assert await deps.blobs.get(f"{carve_folder(carve.id)}5/a") == b"x"


async def is_swept(carving, sweep):
    return (await carving.only()).sweeps == sweep
