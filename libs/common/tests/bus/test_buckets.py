"""Buckets."""

import asyncio
import itertools

from flotilla_common.bus.buckets import key_of, open_bucket
from flotilla_common.bus.follow import Follower
from flotilla_common.testing import eventually
from nats.aio.msg import Msg


async def test_a_bucket_replaces_only_what_it_was_told(bus_for):
    bucket = await open_bucket(await bus_for("config_merger"), "PLANS")
    revision = await bucket.put("head.a", b"1")

    assert not await bucket.replace("head.a", b"2", revision + 7)
    assert await bucket.replace("head.a", b"2", revision)
    assert await bucket.get("head.a") == b"2"
    assert await bucket.get("head.b") is None


async def test_a_deleted_key_reaches_followers_as_a_deletion(bus_for):
    writer = await open_bucket(await bus_for("config_merger"), "PLANS")
    gateway = await bus_for("agent_gateway")
    seen: list[tuple[str, str | None]] = []

    async def note(message: Msg) -> None:
        seen.append((key_of(message.subject), (message.headers or {}).get("KV-Operation")))

    await writer.put("head.a", b"1")
    follower = Follower(gateway, "KV_PLANS", ["$KV.PLANS.head.>"], note)
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    await writer.delete("head.a")

    await eventually(lambda: seen == [("head.a", None), ("head.a", "DEL")])
    task.cancel()


async def test_many_keys_are_deleted_at_once(bus_for):
    bucket = await open_bucket(await bus_for("config_merger"), "PLANS")
    for name in ("head.a", "head.b", "head.c"):
        await bucket.put(name, b"1")

    await bucket.delete_all(["head.a", "head.c", "head.never"])

    assert await bucket.keys() == ["head.b"]


async def test_the_keys_of_a_bucket_are_complete_however_often_they_are_asked_for(bus_for):
    bus = await bus_for("config_merger")
    bucket = await open_bucket(bus, "PLANS")
    await bucket.put("head.a", b"1")
    await bucket.put("head.gone", b"1")
    await bucket.put("config.b", b"x" * 100_000)
    await bucket.delete("head.gone")

    listed = [await asyncio.gather(*(bucket.keys() for _ in range(8))) for _ in range(25)]

    assert {tuple(sorted(keys)) for keys in itertools.chain(*listed)} == {("config.b", "head.a")}
    assert (await bus.js.stream_info("KV_PLANS")).state.consumer_count == 0


async def test_an_empty_bucket_has_no_keys(bus_for):
    bucket = await open_bucket(await bus_for("config_merger"), "PLANS")

    assert await bucket.keys() == []


async def test_a_bucket_of_many_keys_is_listed_whole(bus_for):
    bucket = await open_bucket(await bus_for("config_merger"), "PLANS")
    names = {f"head.{number}" for number in range(1300)}
    await asyncio.gather(*(bucket.put(name, b"{}") for name in names))

    assert set(await bucket.keys()) == names
