"""The bus stops and comes back: known hosts are served, nothing acknowledged is lost, nobody enrolls again."""

from __future__ import annotations

import json
from typing import Any

import nats
from flotilla_common.bus.provision import make
from flotilla_common.contracts.logs import STREAM
from flotilla_common.testing import eventually
from flotilla_common.testing.plugin import NatsOfWorker

from .conftest import BusFor, House
from .stand_ins import SECRET

UNAVAILABLE = {"error": "unavailable"}


async def post(house: House, path: str, **body: Any) -> Any:
    return (await house.post(path, body)).json()


async def lines_stored(bus_for: BusFor) -> list[int]:
    bus = await bus_for("log_shipper")
    state = (await bus.js.stream_info(STREAM)).state
    found = [await bus.js.get_msg(STREAM, sequence) for sequence in range(state.first_seq, state.last_seq + 1)]
    return [json.loads(line)["n"] for message in found for line in (message.data or b"").splitlines()[1:]]


async def test_the_bus_is_stopped_and_started_again(house: House, nats_server: NatsOfWorker, bus_for: BusFor) -> None:
    key = house.inventory.add_host(1)
    config = await post(house, "config", node_key=key)
    assert nats_server.running is not None

    nats_server.running.stop()
    await eventually(lambda: not house.bus.client.is_connected, timeout=30.0)
    while_down = {
        "read": await post(house, "distributed/read", node_key=key),
        "config": await post(house, "config", node_key=key),
        "log": await post(house, "log", node_key=key, log_type="result", data=[{"n": 1}]),
        "stranger": await post(house, "config", node_key="who-knows"),
        "begin": await post(house, "carve/begin", node_key=key),
        "enroll": await post(house, "enroll", enroll_secret=SECRET, host_identifier="A-1"),
    }
    nats_server.running.start()

    async def takes_logs_again() -> bool:
        return bool(await post(house, "log", node_key=key, log_type="result", data=[{"n": 2}]) == {})

    await eventually(takes_logs_again, timeout=60.0)
    assert while_down == {
        "read": {"queries": {}},
        "config": config,
        "log": UNAVAILABLE,
        "stranger": UNAVAILABLE,
        "begin": UNAVAILABLE,
        "enroll": UNAVAILABLE,
    }
    assert set(await lines_stored(bus_for)) == {2}


async def test_a_host_deleted_while_the_bus_was_down_is_refused_when_it_is_back(
    house: House, nats_server: NatsOfWorker
) -> None:
    key, other = house.inventory.add_host(1), house.inventory.add_host(2)
    await house.read(key)
    assert nats_server.running is not None

    nats_server.running.stop()
    await eventually(lambda: not house.bus.client.is_connected, timeout=30.0)
    nats_server.running.start()
    await eventually(lambda: house.inventory.bus.client.is_connected, timeout=60.0)
    await house.inventory.delete(key)

    async def is_refused() -> bool:
        return await house.read(key) == {"error": "invalid_node_key", "node_invalid": True}

    await eventually(is_refused, timeout=60.0)
    assert await house.read(other) == {"queries": {}}


async def test_a_stream_of_hosts_that_was_made_anew_has_every_host_resolved_again(
    house: House, nats_server: NatsOfWorker, bus_for: BusFor
) -> None:
    key = house.inventory.add_host(1)
    await house.read(key)
    where = nats_server.where
    provision = await nats.connect(
        where.url, user="provision", password=where.passwords["provision"], inbox_prefix=b"_INBOX.provision"
    )
    await provision.jetstream().delete_stream("HOSTS")
    await make(provision.jetstream(), "dev")
    await provision.close()

    await eventually(lambda: house.gateway.hosts.generation == 1, timeout=60.0)
    await house.read(key)

    assert len(house.inventory.resolves) == 2
