"""Object stores: what has the hash, or nothing; written by one service, read by another, closed to the rest."""

from __future__ import annotations

import asyncio

import nats.js.errors
import pytest
from flotilla_common.bus.objects import ROLLUP, Objects, digest_of, open_objects
from flotilla_common.contracts.campaigns import STORE
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually

LARGE = bytes(range(256)) * 12_000  # three chunks


async def test_an_object_is_read_by_its_hash_until_it_is_deleted(bus_for):
    writer = await open_objects(await bus_for("live_query"), STORE)
    reader = await open_objects(await bus_for("agent_gateway"), STORE)
    names = [await writer.put(data) for data in (LARGE, b"small", LARGE)]
    listed = await writer.names()
    read = [await reader.get(name) for name in names]
    await writer.delete(names[0])

    assert names == [digest_of(LARGE), digest_of(b"small"), digest_of(LARGE)]
    assert listed == set(names)
    assert read == [LARGE, b"small", LARGE]
    assert await reader.get(names[0]) is None
    assert await writer.names() == {names[1]}


async def test_nats_own_clients_list_it(bus_for):
    writer = await open_objects(await bus_for("live_query"), STORE)
    name = await writer.put(LARGE)
    store = await (await bus_for("provision")).js.object_store(STORE)

    info = await store.get_info(name)

    assert (info.size, info.chunks, info.deleted) == (len(LARGE), 3, False)


@pytest.mark.parametrize("name", ["", "../x", "x" * 64, digest_of(b"never put")])
async def test_what_is_not_there_is_none(bus_for, name):
    assert await Objects(await bus_for("agent_gateway"), STORE).get(name) is None


async def test_two_who_put_the_same_object_at_the_same_time_leave_it_readable(bus_for):
    writers = [Objects(await bus_for("live_query"), STORE) for _ in range(2)]
    reader = Objects(await bus_for("agent_gateway"), STORE)

    await asyncio.gather(*(writer.put(LARGE) for writer in writers))

    assert await reader.get(digest_of(LARGE)) == LARGE


async def test_a_damaged_object_is_put_anew(bus_for):
    bus = await bus_for("live_query")
    objects = Objects(bus, STORE)
    name = await objects.put(LARGE)
    await bus.js.purge_stream("OBJ_TARGETS", subject=f"$O.{STORE}.C.>")
    damaged = await objects.has(name)
    await objects.put(LARGE)

    assert not damaged
    assert await objects.get(name) == LARGE


async def test_a_replica_that_lags_behind_is_not_believed(bus_for, monkeypatch):
    name = await Objects(await bus_for("live_query"), STORE).put(LARGE)
    bus = await bus_for("agent_gateway")
    ask_leader = bus.js.get_last_msg

    async def lag(stream: str, subject: str, direct: bool | None = False):
        if direct:
            raise nats.js.errors.NotFoundError
        return await ask_leader(stream, subject)

    monkeypatch.setattr(bus.js, "get_last_msg", lag)

    assert await Objects(bus, STORE).get(name) == LARGE


async def test_other_bytes_under_a_hash_are_not_handed_out(bus_for):
    bus = await bus_for("live_query")
    objects = Objects(bus, STORE)
    name = await objects.put(LARGE)
    await bus.js.publish(f"$O.{STORE}.C.{name}.1", b"forged", headers=ROLLUP)

    assert await objects.get(name) is None


async def test_what_a_crash_left_behind_is_listed_and_does_not_hinder_the_next_put(bus_for):
    bus = await bus_for("live_query")
    objects = Objects(bus, STORE)
    name = digest_of(LARGE)
    await bus.js.publish(f"$O.{STORE}.C.{name}.0", LARGE[:100])
    listed = await objects.names()
    await objects.put(LARGE)

    assert listed == {name}
    assert await objects.get(name) == LARGE


async def test_what_a_crash_left_behind_is_removed(bus_for):
    bus = await bus_for("live_query")
    objects = Objects(bus, STORE)
    name = digest_of(LARGE)
    await bus.js.publish(f"$O.{STORE}.C.{name}.0", LARGE[:100])
    await objects.delete(name)

    assert await objects.names() == set()


@pytest.mark.parametrize("service", ["agent_gateway", "admin_api", "inventory"])
async def test_nobody_but_its_writer_can_put_or_delete(bus_for, service):
    writer = Objects(await bus_for("live_query"), STORE)
    name = await writer.put(b"targets")
    stranger = await bus_for(service)
    errors: list[Exception] = []

    async def on_error(error: Exception) -> None:
        errors.append(error)

    stranger.client._error_cb = on_error
    await stranger.client.publish(f"$O.{STORE}.C.{name}.0", b"forged")
    await stranger.client.publish("$JS.API.STREAM.PURGE.OBJ_TARGETS", b"", reply="_INBOX.x")
    await eventually(lambda: len(errors) == 2)

    assert all("permissions violation" in str(error).lower() for error in errors)
    assert await writer.get(name) == b"targets"


async def test_a_service_refuses_to_start_without_its_store(bus_for):
    await (await bus_for("provision")).js.delete_object_store(STORE)

    with pytest.raises(Unavailable, match="make migrate"):
        await open_objects(await bus_for("live_query"), STORE)
