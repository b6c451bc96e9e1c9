"""Whose requests gather on the TLS port, as the servers take them."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from agent_gateway import granian_door
from agent_gateway.gathering import Phase
from agent_gateway.granian_door import GranianDoor
from flotilla_common.testing import turns

from .conftest import House
from .servers import Servers


@dataclass
class Patient:
    """A house whose TLS port pauses for whomever it waits for, and its pauses, which take no time."""

    house: House
    slept: list[float]

    async def post(self, path: str, body: object) -> object:
        return (await self.house.post(path, body, prefix="https://gateway/api/v1/osquery")).json()


@pytest.fixture
async def patient(house: House, monkeypatch: pytest.MonkeyPatch) -> Patient:
    slept: list[float] = []
    monkeypatch.setattr(granian_door, "time", SimpleNamespace(sleep=slept.append))
    servers = house.client._transport
    assert isinstance(servers, Servers)
    servers._granian_door = GranianDoor(house.door, 600.0)
    servers._granian_door._gathering._go_on(Phase.PAUSING, 0.005)
    return Patient(house, slept)


async def test_known_hosts_are_waited_for_and_the_pauses_counted(patient: Patient) -> None:
    counters = patient.house.gateway.counters
    key = patient.house.inventory.add_host()
    await patient.post("distributed/read", {"node_key": key})  # which asks inventory for the key
    assert patient.slept == []

    log = {"node_key": key, "log_type": "result", "data": [{"a": 1}]}
    for path, body, answer in (("distributed/read", {"node_key": key}, {"queries": {}}), ("log", log, {})):
        assert await patient.post(path, body) == answer
        await turns()

    assert patient.slept == [0.005] * 2
    assert (counters.pauses, counters.paused_seconds) == (2, 0.01)


async def test_nobody_is_kept_waiting_by_strangers_or_on_the_plain_port(patient: Patient) -> None:
    key = patient.house.inventory.add_host()
    for _ in range(20):
        await patient.post("distributed/read", {"node_key": "unknown"})
        await patient.post("log", {"node_key": "unknown", "log_type": "result", "data": []})
        await patient.post("nowhere", {"node_key": key})
        await patient.post("distributed/read", b"{")
        assert await patient.house.read(key) == {"queries": {}}
    await turns()
    assert patient.slept == []


async def test_a_large_body_on_its_way_ends_the_pauses_for_a_moment(patient: Patient) -> None:
    key = patient.house.inventory.add_host()
    await patient.post("distributed/read", {"node_key": key})
    line = {"a": "x" * (2 * granian_door.WHOLE_BYTES)}
    assert await patient.post("log", {"node_key": key, "log_type": "result", "data": [line]}) == {}

    await patient.post("distributed/read", {"node_key": key})
    await turns()

    assert patient.slept == []
