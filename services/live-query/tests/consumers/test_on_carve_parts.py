"""carves.part.v1: blocks in any order, repeated, differing, late; what is stored, and what people are told."""

from __future__ import annotations

import asyncio
import itertools
import random

import msgspec
import pytest
from flotilla_common.contracts.carves import STREAM, carve_folder, part_object
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from live_query.consumers import on_carve_parts

from ..carving import SQL, cut, part_of, query_name

DATA = bytes(range(250))


@pytest.fixture
async def carve(deps, running, fleet, start, carving):
    """A carve of DATA that has begun."""
    [host] = await fleet.hosts(1)
    async with running(deps):
        number = (await start(host_ids=[host], sql=SQL)).campaign_id
        await carving.begin(host, query_name(number), len(DATA))
    return await carving.only()


def parts_of(carve, data=DATA):
    return [part_of(carve.id, carve.host_id, number, block) for number, block in enumerate(cut(data))]


async def content(deps, carving):
    """All that is stored, in the order of the blocks."""
    names = [
        part_object(block.carve_id, block.block_id, bytes(block.sha256), part)
        for block in await carving.blocks()
        for part in range(block.parts)
    ]
    return b"".join([await deps.blobs.get(name) or b"" for name in names])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_blocks_may_come_in_any_order(deps, carve, carving, order):
    parts = parts_of(carve)
    highest = []
    for number in order:
        await on_carve_parts.handle([parts[number]], deps)
        highest.append((await carving.only()).max_block)

    done = await carving.only()
    assert await content(deps, carving) == DATA
    assert highest == [gapless(order[: n + 1]) for n in range(3)]
    assert (done.blocks_stored, done.bytes_stored, done.error) == (3, 250, None)
    assert done.completed_at is not None
    assert done.format == "tar"


def gapless(numbers):
    """The last number of those that follow each other from 0."""
    return next(n for n in range(len(numbers) + 1) if n not in numbers) - 1


async def test_all_at_once_and_each_of_them_several_times(deps, carve, carving):
    parts = parts_of(carve) * 3
    random.Random(5).shuffle(parts)
    await on_carve_parts.handle(parts, deps)
    await asyncio.gather(*(on_carve_parts.handle([part], deps) for part in parts))

    done = await carving.only()
    assert await content(deps, carving) == DATA
    assert (done.max_block, done.blocks_stored, done.bytes_stored, done.error) == (2, 3, 250, None)


async def test_copies_at_several_replicas_at_once_store_a_block_once(make_deps, carve, carving):
    replicas = [await make_deps() for _ in range(3)]
    await asyncio.gather(*(on_carve_parts.handle([part], deps) for deps in replicas for part in parts_of(carve)))

    done = await carving.only()
    assert (done.max_block, done.blocks_stored, done.bytes_stored) == (2, 3, 250)
    assert await content(replicas[0], carving) == DATA


async def test_a_block_of_several_parts_counts_when_all_of_them_are_there(deps, carve, carving):
    first = parts_of(carve)[0]
    whole = [
        msgspec.structs.replace(first, part=number, parts=3, data=first.data[at : at + 40])
        for number, at in enumerate((0, 40, 80))
    ]
    counts = []
    for part in (whole[2], whole[0], whole[2], whole[1]):
        await on_carve_parts.handle([part], deps)
        counts.append((await carving.only()).blocks_stored)

    assert counts == [0, 0, 0, 1]
    assert await content(deps, carving) == first.data


async def test_another_copy_with_other_bytes_is_told_and_the_first_stays(deps, carve, carving):
    good, bad = parts_of(carve)[1], part_of(carve.id, carve.host_id, 1, b"x" * 100)
    await on_carve_parts.handle([good], deps)
    await on_carve_parts.handle([bad], deps)
    await on_carve_parts.handle(parts_of(carve), deps)

    done = await carving.only()
    assert done.error == "block 1 came again with other bytes"
    assert await content(deps, carving) == DATA
    assert done.completed_at is not None


async def test_of_two_different_copies_at_once_the_bytes_of_one_are_kept(make_deps, carve, carving):
    replicas = [await make_deps() for _ in range(2)]
    copies = [part_of(carve.id, carve.host_id, 0, letter * 100) for letter in (b"a", b"b")]
    await asyncio.gather(*(on_carve_parts.handle([part], deps) for part, deps in zip(copies, replicas, strict=True)))

    [block] = await carving.blocks()
    kept = await content(replicas[0], carving)
    others = [part for part in copies if part.data != kept]
    assert kept in (b"a" * 100, b"b" * 100)
    assert bytes(block.sha256) != others[0].block_sha256
    assert await replicas[0].blobs.get(on_carve_parts.object_of(others[0])) is None
    assert (await carving.only()).error == "block 0 came again with other bytes"


async def test_what_the_door_refused_is_told_and_the_first_fault_stays(deps, carve, carving):
    for fault in ("data has 5000 bytes, a block has 1 to 100\0", "something else"):
        await on_carve_parts.handle([part_of(carve.id, carve.host_id, 2, b"", fault=fault)], deps)

    assert (await carving.only()).error == "block 2: data has 5000 bytes, a block has 1 to 100"
    assert await carving.blocks() == []


@pytest.mark.parametrize(
    "members",
    [
        {"carve_id": 999},
        {"host_id": 999},
        {"block_id": 3},
        {"block_id": -1},
        {"block_size": 101},
        {"block_size": 0},
        {"part": 1},
        {"part": -1},
        {"parts": 33, "part": 32},
    ],
)
async def test_what_is_not_of_the_carve_is_dropped(deps, carve, carving, members):
    part = msgspec.structs.replace(parts_of(carve)[0], **members)
    await on_carve_parts.handle([part], deps)

    assert await carving.blocks() == []
    assert await deps.blobs.delete_folder("carves") == 0
    assert (await carving.only()).blocks_stored == 0


async def test_fewer_bytes_than_were_announced_are_told(deps, carve, carving):
    parts = parts_of(carve)
    parts[0] = part_of(carve.id, carve.host_id, 0, b"short")
    await on_carve_parts.handle(parts, deps)

    done = await carving.only()
    assert done.completed_at is not None
    assert done.error == "the blocks have 155 bytes, the carve was to have 250"


async def test_a_compressed_carve_is_known_by_its_first_bytes(deps, carve, carving):
    await on_carve_parts.handle(parts_of(carve, b"\x28\xb5\x2f\xfd" + DATA[4:]), deps)

    assert (await carving.only()).format == "zstd"


async def test_blocks_of_an_expired_carve_leave_nothing(deps, carve, carving, clock):
    clock.move(days=1)
    await on_carve_parts.handle(parts_of(carve), deps)

    assert await carving.blocks() == []
    assert await deps.blobs.delete_folder(carve_folder(carve.id)) == 0


async def test_a_carve_that_expires_while_its_block_is_being_stored_leaves_nothing(
    deps, carve, carving, clock, monkeypatch
):
    put = deps.blobs.put

    async def slow(name, data):
        await put(name, data)
        clock.move(days=1)

    monkeypatch.setattr(deps.blobs, "put", slow)
    await on_carve_parts.handle(parts_of(carve)[:1], deps)

    assert await carving.blocks() == []
    assert await deps.blobs.delete_folder(carve_folder(carve.id)) == 0


async def test_while_the_blob_store_is_away_blocks_wait(deps, running, carve, carving, monkeypatch):
    put, failures = deps.blobs.put, []

    async def refuse(name, data):
        if len(failures) < 4:
            failures.append(name)
            raise Unavailable("the store is away")
        await put(name, data)

    monkeypatch.setattr(deps.blobs, "put", refuse)
    async with running(deps):
        await carving.send(*parts_of(carve))
        await eventually(carving.is_complete, timeout=30)
        await eventually(lambda: is_drained(deps), timeout=30)

    assert len(failures) == 4
    assert await content(deps, carving) == DATA


async def is_drained(deps):
    return (await deps.bus.js.stream_info(STREAM)).state.messages == 0


async def test_what_is_no_part_is_buried_and_the_others_come_through(deps, running, carve, carving):
    async with running(deps):
        for body in (b"", b"\xc1", msgspec.msgpack.encode(part_of(carve.id, carve.host_id, 0, b"x", v=2))):
            await carving.publish(body)
        await carving.send(*parts_of(carve))
        await eventually(carving.is_complete, timeout=30)
        dead = await eventually(lambda: buried(deps, 3), timeout=30)

    assert dead
    assert await content(deps, carving) == DATA


async def buried(deps, number):
    info = await deps.bus.js.consumer_info(STREAM, on_carve_parts.DURABLE)
    return info.num_ack_pending == 0 and info.delivered.stream_seq >= number + 3


async def test_a_deleted_hosts_carve_takes_no_more_blocks(deps, running, carve, carving, inventory):
    await on_carve_parts.handle(parts_of(carve)[:1], deps)
    async with running(deps):
        await inventory.delete(carve.host_id)
        await eventually(lambda: is_over(carving), timeout=30)
    await on_carve_parts.handle(parts_of(carve), deps)

    over = await carving.only()
    assert over.error == "the host was deleted before all blocks had come"
    assert over.blocks_stored == 1


async def is_over(carving):
    return (await carving.only()).expired_at
