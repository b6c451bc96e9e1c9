"""The connection: settled, silent or closed."""

import asyncio
import contextlib
import os
import signal
import sys
from datetime import UTC, datetime

import nats.errors
import pytest
import uvloop
from flotilla_common.bus import connection
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.connection import BusClosed, connect
from flotilla_common.bus.permissions import authorization
from flotilla_common.cancellation import heed
from flotilla_common.contracts.hosts import EnrolledV1, EnrollHostV1, HostsSeenV1
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually


async def test_what_is_settled_is_heard_by_all(bus_for):
    inventory, gateway = await bus_for("inventory"), await bus_for("agent_gateway")
    for _ in range(100):
        heard = await inventory.client.subscribe(HostsSeenV1.subject)
        await inventory.settle()
        await gateway.client.publish(HostsSeenV1.subject, b"x")
        await heard.next_msg(timeout=5)
        await heard.unsubscribe()


async def test_an_event_that_may_be_lost_is_lost_while_there_is_no_connection(bus_for):
    bus = await bus_for("agent_gateway")
    await bus.client.close()

    await bus.send(HostsSeenV1(bitmap="", seen_at=datetime.now(UTC)))


async def test_a_bus_that_was_silent_for_a_while_is_heard_again_at_once_on_the_same_connection(
    bus_for, nats_server, monkeypatch
):
    monkeypatch.setattr(connection, "HEARTBEAT_SECONDS", 0.1)
    bus, reconnections = await bus_for("agent_gateway"), []
    bus.on_reconnect.add(lambda: reconnections.append(1))
    beating = asyncio.create_task(bus.heartbeat())

    os.kill(nats_server.running.pid, signal.SIGSTOP)
    await eventually(lambda: bus.silence_seconds > 1.0)
    os.kill(nats_server.running.pid, signal.SIGCONT)

    await eventually(lambda: bus.silence_seconds < 0.5)
    assert (await bus.js.stream_info("HOSTS")).config.name == "HOSTS"
    assert reconnections == []
    beating.cancel()


async def test_a_connection_that_nobody_reads_is_silent_though_nats_py_says_that_it_is_flushed(bus_for, monkeypatch):
    monkeypatch.setattr(connection, "HEARTBEAT_SECONDS", 0.1)
    bus = await bus_for("agent_gateway")
    bus.client._reading_task.cancel()
    beating = asyncio.create_task(bus.heartbeat())

    await eventually(lambda: bus.silence_seconds > 1.0)
    beating.cancel()


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


@pytest.fixture
async def set_password(nats_server, bus_settings_for):
    """Give a user another password in the server's file and let the server read it; put back in the end."""
    where, running = nats_server.where, nats_server.running
    changed: set[str] = set()

    def write(passwords: dict[str, str]) -> None:
        running.server.authorization = authorization(where.passwords | passwords)
        running.server.prepare()
        os.kill(running.pid, signal.SIGHUP)

    def change(user: str, password: str) -> None:
        changed.add(user)
        write({user: password})

    async def lets_in(user: str) -> bool:
        try:
            bus = await connect(bus_settings_for(user))
        except (Unavailable, nats.errors.Error):
            return False
        await bus.close()
        return True

    yield change
    write({})
    for user in changed:
        await eventually(lambda user=user: lets_in(user))


async def never_asked(_request: EnrollHostV1, _deps: None) -> EnrolledV1:
    raise NotImplementedError


async def test_a_changed_password_ends_an_answering_task_with_an_error(bus_for, set_password):
    inventory, ready = await bus_for("inventory"), asyncio.Event()
    answering = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, never_asked), None, ready=ready))
    await ready.wait()
    set_password("inventory", "another")

    with pytest.raises(BusClosed, match="user inventory for good"):
        await asyncio.wait_for(answering, 20)
    with pytest.raises(BusClosed):
        await inventory.until_closed()


async def test_our_own_close_is_no_failure(bus_for):
    inventory, ready = await bus_for("inventory"), asyncio.Event()
    waiting = asyncio.create_task(inventory.until_closed())
    answering = asyncio.create_task(respond(inventory, Responder(EnrollHostV1, never_asked), None, ready=ready))
    await ready.wait()
    await inventory.close()

    await asyncio.wait_for(asyncio.gather(waiting, answering), 5)


async def test_a_bus_whose_server_is_gone_closes_all_the_same(nats_server, bus_settings_for):
    """On uvloop, as the gateway runs: what nats-py still had to send it writes into a transport that is closed."""
    settings = bus_settings_for("agent_gateway")

    async def outlive_the_server() -> bool:
        bus = await connect(settings)
        nats_server.running.stop()
        await eventually(lambda: not bus.client.is_connected, timeout=30.0)
        await bus.client.publish(HostsSeenV1.subject, b"x")
        await bus.close()
        return bus.client.is_closed

    try:
        assert await asyncio.to_thread(uvloop.run, outlive_the_server())
    finally:
        nats_server.running.start()


PROGRAM = """
import asyncio
from flotilla_common.bus.connection import connect
from flotilla_common.service import live_with, run
from flotilla_common.settings import CommonSettings, load_or_exit

settings = load_or_exit(CommonSettings)

async def main(tasks, health):
    live_with(await connect(settings), tasks, health)
    print("connected", flush=True)

run("example", settings, main)
"""


async def test_a_changed_password_ends_the_process_with_one_readable_reason(nats_server, set_password):
    environment = {
        "FLOTILLA_NATS_URL": nats_server.where.url,
        "FLOTILLA_NATS_USER": "inventory",
        "FLOTILLA_NATS_PASSWORD": nats_server.where.passwords["inventory"],
        "FLOTILLA_HEALTH_PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    while (await process.stdout.readline()).strip() != b"connected":
        assert not process.stdout.at_eof()
    set_password("inventory", "another")
    output, _ = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 1
    assert b"NATS closed the connection of user inventory for good" in output
    assert b"Traceback" not in output
