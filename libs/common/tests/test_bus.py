"""Bus: permissions are enforced by the real server; consumers settle; followers survive."""

import asyncio
import contextlib
import itertools
from datetime import UTC, datetime
from typing import ClassVar

import nats
import nats.errors
import pytest
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.buckets import key_of, open_bucket
from flotilla_common.bus.consumer import Subscription, consume, event_subscription
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.bus.follow import Follower
from flotilla_common.bus.provision import verify
from flotilla_common.cancellation import heed
from flotilla_common.contracts.definitions import TeamChangedV1
from flotilla_common.contracts.hosts import (
    BadEnrollSecret,
    EnrolledV1,
    EnrollHostV1,
    HostChangedV1,
    HostRecord,
    HostsSeenV1,
)
from flotilla_common.errors import Poison, Refused, Unavailable
from flotilla_common.testing import eventually
from nats.aio.msg import Msg

RECORD = HostRecord(host_id=7, revision=3, node_key_hash="ab" * 16, team_id=None, platform="ubuntu")
ENROLL = EnrollHostV1(enroll_secret="s3cret", host_identifier="A-1")


async def test_a_request_reaches_its_owner_and_the_secret_crosses_the_bus(bus_for):
    async def answer(request: EnrollHostV1, _deps: None) -> EnrolledV1:
        return EnrolledV1(node_key=request.enroll_secret.get_secret_value() + "-key", host=RECORD)

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, answer), None, ready=ready))
    await ready.wait()
    reply = await gateway.request(ENROLL)
    task.cancel()

    assert reply.node_key.get_secret_value() == "s3cret-key"
    assert reply.host == RECORD
    assert "s3cret" not in repr(ENROLL)


async def test_what_is_settled_is_heard_by_all(bus_for):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    for _ in range(100):
        heard = await inventory.client.subscribe(HostsSeenV1.subject)
        await inventory.settle()
        await gateway.client.publish(HostsSeenV1.subject, b"x")
        await heard.next_msg(timeout=5)
        await heard.unsubscribe()


async def test_an_error_of_the_owner_arrives_as_its_own_class(bus_for):
    async def refuse(request: EnrollHostV1, _deps: None) -> EnrolledV1:
        raise BadEnrollSecret(request.host_identifier)

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, refuse), None, ready=ready))
    await ready.wait()

    with pytest.raises(BadEnrollSecret, match="A-1"):
        await gateway.request(ENROLL)
    task.cancel()


async def test_a_bug_in_the_owner_is_answered_as_unavailable(bus_for):
    async def break_down(_request: EnrollHostV1, _deps: None) -> EnrolledV1:
        raise KeyError("bug")

    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    ready = asyncio.Event()
    task = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, break_down), None, ready=ready))
    await ready.wait()

    with pytest.raises(Unavailable):
        await gateway.request(ENROLL)
    task.cancel()


async def test_without_an_owner_a_request_is_unavailable_at_once(bus_for):
    gateway = await bus_for("agent_gateway")

    with pytest.raises(Unavailable):
        await gateway.request(ENROLL)


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("log_shipper", "inventory.enroll_host.v1"),
        ("config_merger", "hosts.changed.v1"),
        ("agent_gateway", "live_query.start_campaign.v1"),
        ("inventory", "$KV.CAMPAIGNS.1.command"),
        ("analytics", "logs.result.v1.3"),
    ],
)
async def test_a_forbidden_publish_is_refused_by_the_server(bus_for, user, subject):
    bus = await bus_for(user)
    refused: list[Exception] = []

    async def note(error: Exception) -> None:
        refused.append(error)

    bus.client._error_cb = note
    await bus.client.publish(subject, b"x")
    await bus.settle()

    await eventually(lambda: any("permissions violation" in str(error).lower() for error in refused))


async def test_nobody_hears_the_replies_of_another(bus_for):
    bus = await bus_for("log_shipper")
    refused: list[Exception] = []

    async def note(error: Exception) -> None:
        refused.append(error)

    bus.client._error_cb = note
    await bus.client.subscribe("_INBOX.agent_gateway.>")
    await bus.settle()

    await eventually(lambda: any("permissions violation" in str(error).lower() for error in refused))


async def test_streams_verify_after_provisioning(bus_for):
    await verify(await bus_for("agent_gateway"), "LOGS", "ANSWERS", "RESULTS")


class Seen:
    def __init__(self) -> None:
        self.teams: list[int] = []


async def run_consumer(bus, subscription, deps):
    ready = asyncio.Event()
    task = asyncio.create_task(consume(bus, subscription, deps, ready=ready))
    await ready.wait()
    return task


async def test_an_event_published_twice_is_consumed_once(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        deps.teams.append(event.team_id)

    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)
    event = TeamChangedV1(team_id=4)
    await admin.publish(event)
    await admin.publish(event)
    await admin.publish(TeamChangedV1(team_id=5))

    await eventually(lambda: seen.teams == [4, 5])
    task.cancel()


async def test_poison_is_buried_with_its_reason_and_the_next_message_is_handled(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        if event.team_id == 13:
            raise Poison("team 13")
        deps.teams.append(event.team_id)

    await admin.client.publish("definitions.team_changed.v1", b"no json")
    await admin.publish(TeamChangedV1(team_id=13))
    await admin.publish(TeamChangedV1(team_id=14))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)

    await eventually(lambda: seen.teams == [14])
    task.cancel()


async def test_an_outage_buries_nothing_and_the_message_comes_again(bus_for):
    admin, merger, seen = await bus_for("admin_api"), await bus_for("config_merger"), Seen()
    attempts: list[int] = []

    async def handle(event: TeamChangedV1, deps: Seen) -> None:
        attempts.append(event.team_id)
        if len(attempts) == 1:
            raise ConnectionRefusedError
        deps.teams.append(event.team_id)

    await admin.publish(TeamChangedV1(team_id=4))
    task = await run_consumer(merger, event_subscription(TeamChangedV1, "config-merger-test", handle), seen)

    await eventually(lambda: seen.teams == [4])
    task.cancel()


async def test_one_bad_message_of_a_batch_harms_no_other(bus_for):
    admin, merger = await bus_for("admin_api"), await bus_for("config_merger")
    handled: list[bytes] = []

    async def handle(items: list[bytes], _deps: None) -> None:
        if b"bad" in items:
            raise Poison("bad")
        handled.extend(items)

    subscription: Subscription[bytes, None] = Subscription(
        "DEFINITIONS",
        "definitions.batch_test.v1",
        "config-merger-batch",
        lambda message: message.data,
        handle,
        batch=16,
    )
    for body in (b"1", b"bad", b"2"):
        await admin.js.publish("definitions.batch_test.v1", body)
    task = await run_consumer(merger, subscription, None)

    await eventually(lambda: sorted(handled) == [b"1", b"2"])
    task.cancel()


async def test_a_follower_sees_what_was_stored_and_what_comes_and_survives_a_restart(bus_for, nats_server):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    def changed(revision: int) -> HostChangedV1:
        return HostChangedV1(host=RECORD.model_copy(update={"revision": revision}))

    await inventory.publish(changed(1))
    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="all")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    assert seen == [1]
    await inventory.publish(changed(2))
    await eventually(lambda: seen == [1, 2])

    nats_server.running.stop()
    nats_server.running.start()
    await eventually(lambda: inventory.client.is_connected)
    await eventually(lambda: _publishes(inventory, changed(3)), timeout=20)

    await eventually(lambda: seen == [1, 2, 3], timeout=20)
    task.cancel()


async def _publishes(bus, event) -> bool:
    try:
        await bus.publish(event)
    except (Unavailable, nats.errors.Error):
        return False
    return True


async def test_custody_returns_the_sequence_of_a_stored_message(bus_for):
    gateway = await bus_for("agent_gateway")
    custody = CustodyPublisher(gateway)
    await custody.open()

    sequences = await asyncio.gather(*(custody.publish(f"logs.result.v1.{n % 16}", b"x") for n in range(50)))

    assert sorted(sequences) == list(range(1, 51))


async def test_custody_refuses_what_no_stream_takes(bus_for, monkeypatch):
    monkeypatch.setattr("flotilla_common.bus.custody.ACK_TIMEOUT_SECONDS", 0.1)
    gateway = await bus_for("agent_gateway")
    custody = CustodyPublisher(gateway)
    await custody.open()

    with pytest.raises(Unavailable):
        await custody.publish("hosts.seen.v1", b"x")


async def test_custody_says_at_once_that_a_full_stream_refuses(bus_for, nats_server, monkeypatch):
    monkeypatch.setattr("flotilla_common.bus.custody.ACK_TIMEOUT_SECONDS", 3600.0)
    where = nats_server.where
    provision = await nats.connect(
        where.url, user="provision", password=where.passwords["provision"], inbox_prefix=b"_INBOX.provision"
    )
    js = provision.jetstream()
    await js.update_stream((await js.stream_info("LOGS")).config.evolve(max_bytes=1024))
    await provision.close()
    custody = CustodyPublisher(await bus_for("agent_gateway"))
    await custody.open()

    with pytest.raises(Refused, match="maximum bytes exceeded"):
        await custody.publish("logs.result.v1.1", b"x" * 2000)


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


class Unknown(TeamChangedV1):
    subject: ClassVar[str] = "nobody.keeps.this"


async def test_a_subject_without_stream_is_a_mistake_seen_at_import():
    with pytest.raises(LookupError):
        event_subscription(Unknown, "x", lambda _event, _deps: asyncio.sleep(0))


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


async def test_a_follower_takes_again_what_was_lost_on_the_way(bus_for, monkeypatch):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    def changed(revision: int) -> HostChangedV1:
        return HostChangedV1(host=RECORD.model_copy(update={"revision": revision}))

    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="new")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    await inventory.publish(changed(1))
    await eventually(lambda: seen == [1])

    follower._delivered -= 1  # as if one more message had been sent than has come
    await inventory.publish(changed(2))
    await inventory.publish(changed(3))

    await eventually(lambda: seen == [1, 2, 3])
    task.cancel()


async def test_a_follower_of_new_messages_misses_none_when_its_consumer_is_lost_before_the_first(bus_for):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    seen: list[int] = []

    async def note(message: Msg) -> None:
        seen.append(HostChangedV1.model_validate_json(message.data).host.revision)

    follower = Follower(gateway, "HOSTS", ["hosts.>"], note, start="new")
    task = asyncio.create_task(follower.run())
    await follower.caught_up.wait()
    task.cancel()
    await asyncio.wait([task])
    await inventory.publish(HostChangedV1(host=RECORD))
    task = asyncio.create_task(follower.run())

    await eventually(lambda: seen == [RECORD.revision])
    task.cancel()


async def test_an_event_that_may_be_lost_is_lost_while_there_is_no_connection(bus_for):
    bus = await bus_for("agent_gateway")
    await bus.client.close()

    await bus.send(HostsSeenV1(bitmap="", seen_at=datetime.now(UTC)))


async def test_a_swallowed_cancellation_is_heeded():
    async def swallow() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        heed()

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
