"""Streams and buckets as the services want them: made so, and verified at start."""

from datetime import timedelta

import pytest
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.objects import open_objects
from flotilla_common.bus.provision import make, verify
from flotilla_common.contracts.streams import (
    BUCKETS,
    GIB,
    MAX_PAYLOAD_BYTES,
    OBJECT_STORES,
    STREAMS,
    bucket_stream,
    object_stream,
)
from flotilla_common.errors import Unavailable
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

DAY = timedelta(days=1).total_seconds()


async def make_anew(js, stream: str, **changes) -> None:
    """Make a stream again with other members: some cannot be changed while it exists."""
    config = (await js.stream_info(stream)).config
    await js.delete_stream(stream)
    await js.add_stream(config.evolve(**changes))


async def change(js, stream: str, **changes) -> None:
    await js.update_stream((await js.stream_info(stream)).config.evolve(**changes))


async def configs(js) -> list[StreamConfig]:
    streams = [spec.name for spec in STREAMS]
    streams += [bucket_stream(spec.name) for spec in BUCKETS]
    streams += [object_stream(spec.name) for spec in OBJECT_STORES]
    return [(await js.stream_info(stream)).config for stream in streams]


async def test_streams_and_buckets_verify_after_provisioning(bus_for):
    await verify(await bus_for("agent_gateway"), "HOSTS", "LOGS", "ANSWERS", "RESULTS", "CARVES")
    for bucket in BUCKETS:
        await open_bucket(await bus_for("agent_gateway"), bucket.name)


async def test_provisioning_again_changes_nothing(provision):
    before = await configs(provision)
    await make(provision, "dev")

    assert await configs(provision) == before


async def test_provisioning_again_leaves_what_operators_chose(provision):
    logs = {"max_bytes": 3 * GIB, "duplicate_window": 120.0, "max_msg_size": MAX_PAYLOAD_BYTES}
    await change(provision, "LOGS", **logs)
    await change(provision, "OBJ_TARGETS", max_bytes=GIB, max_msg_size=MAX_PAYLOAD_BYTES)
    await change(provision, "KV_PLANS", max_bytes=GIB, max_msg_size=MAX_PAYLOAD_BYTES)
    before = await configs(provision)
    await make(provision, "dev")

    assert await configs(provision) == before


@pytest.mark.parametrize(
    ("stream", "changes"),
    [
        ("LOGS", {"discard": DiscardPolicy.OLD, "max_age": DAY, "max_msgs": 5, "max_bytes": -1, "max_msg_size": 1024}),
        ("LOGS", {"duplicate_window": 1.0, "subjects": ["logs.result.>"], "no_ack": True, "max_msgs_per_subject": 1}),
        ("KV_PLANS", {"max_msgs_per_subject": 2, "max_age": DAY, "max_msgs": 5, "max_msg_size": 1024, "no_ack": True}),
        ("OBJ_TARGETS", {"discard": DiscardPolicy.OLD, "max_age": DAY, "max_msgs": 5, "max_bytes": -1}),
        ("OBJ_TARGETS", {"max_msg_size": 1024, "no_ack": True}),
    ],
)
async def test_provisioning_again_puts_right_what_is_not_as_wanted(provision, stream, changes):
    before = await configs(provision)
    await change(provision, stream, **changes)
    changed = await configs(provision)
    await make(provision, "dev")

    assert changed != before
    assert await configs(provision) == before


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"retention": RetentionPolicy.WORK_QUEUE}, "retention is workqueue, wanted limits: only a new stream"),
        ({"storage": StorageType.MEMORY, "max_bytes": 1024}, "storage is memory, wanted file"),
        ({"discard": DiscardPolicy.OLD}, "discard is old, wanted new"),
        ({"max_age": DAY}, "max_age is 86400.0, wanted 0: put it right or run `make migrate`"),
        ({"max_msgs": 5}, "max_msgs is 5, wanted no limit"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1, wanted no limit"),
        ({"max_bytes": -1}, "max_bytes is -1, wanted a limit"),
        ({"max_msg_size": 1024}, f"max_msg_size is 1024, wanted no limit, or at least {MAX_PAYLOAD_BYTES}"),
        ({"duplicate_window": 1}, "duplicate_window is 1.0, wanted at least 30"),
        ({"subjects": ["logs.result.>"]}, r"subjects is \['logs.result.>'\], wanted \['logs.>'\]"),
        ({"no_ack": True}, "no_ack is True, wanted False"),
    ],
)
async def test_a_stream_that_is_not_as_wanted_is_named_with_the_member(bus_for, provision, changes, complaint):
    bus = await bus_for("agent_gateway")
    await make_anew(provision, "LOGS", **changes)

    with pytest.raises(Unavailable, match=f"stream LOGS: {complaint}"):
        await verify(bus, "ANSWERS", "LOGS")


async def test_what_operators_may_choose_is_accepted(bus_for, provision):
    choice = {"max_bytes": 5_000_000, "duplicate_window": 120, "max_msg_size": MAX_PAYLOAD_BYTES}
    await make_anew(provision, "LOGS", **choice)

    await verify(await bus_for("agent_gateway"), "LOGS")


async def test_a_missing_stream_is_named(bus_for, provision):
    bus = await bus_for("agent_gateway")
    await provision.delete_stream("LOGS")

    with pytest.raises(Unavailable, match="stream LOGS does not exist"):
        await verify(bus, "LOGS")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"storage": StorageType.MEMORY, "max_bytes": 1024}, "storage is memory, wanted file"),
        ({"max_msgs_per_subject": 2}, "history is 2, wanted 1"),
        ({"max_age": DAY}, "max_age is 86400.0, wanted 0"),
        ({"max_msgs": 5}, "max_msgs is 5, wanted no limit"),
        ({"max_msg_size": 1024}, "max_msg_size is 1024, wanted no limit"),
        ({"no_ack": True}, "no_ack is True, wanted False"),
    ],
)
async def test_a_bucket_that_is_not_as_wanted_is_not_opened(bus_for, provision, changes, complaint):
    bus = await bus_for("config_merger")
    await make_anew(provision, "KV_PLANS", **changes)

    with pytest.raises(Unavailable, match=f"stream KV_PLANS: {complaint}"):
        await open_bucket(bus, "PLANS")


async def test_a_missing_bucket_is_named(bus_for, provision):
    bus = await bus_for("config_merger")
    await provision.delete_stream("KV_PLANS")

    with pytest.raises(Unavailable, match="stream KV_PLANS does not exist"):
        await open_bucket(bus, "PLANS")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"discard": DiscardPolicy.OLD}, "discard is old, wanted new"),
        ({"max_bytes": -1}, "max_bytes is -1, wanted a limit"),
    ],
)
async def test_an_object_store_that_is_not_as_wanted_is_not_opened(bus_for, provision, changes, complaint):
    await change(provision, "OBJ_TARGETS", **changes)

    with pytest.raises(Unavailable, match=f"stream OBJ_TARGETS: {complaint}"):
        await open_objects(await bus_for("live_query"), "TARGETS")
