"""Real processes: killed or told to stop at any moment of log POSTs, they lose no line that they acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from flotilla_common.contracts.logs import STREAM
from flotilla_common.testing import eventually

from .conftest import BusFor, LimitStream, Neighbours
from .gateway_processes import GatewayProcess, Make, stored_numbers


@dataclass
class Host:
    """Posts numbered lines to gateways in turn; keeps a batch until it is acknowledged, as osqueryd does."""

    key: str
    gateways: list[GatewayProcess]
    numbers: Iterator[int]
    acknowledged: list[int] = field(default_factory=list)
    odd: list[bytes] = field(default_factory=list)
    refused: int = 0
    broken: int = 0

    async def post_until(self, stop: asyncio.Event) -> None:
        batch: list[int] = []
        for gateway in itertools.cycle(self.gateways):
            if stop.is_set():
                return
            batch = batch or [next(self.numbers) for _ in range(5)]
            if await self.post(gateway, batch):
                self.acknowledged += batch
                batch = []

    async def post(self, gateway: GatewayProcess, batch: list[int]) -> bool:
        body = {"data": [{"n": number} for number in batch], "log_type": "result", "node_key": self.key}
        try:
            async with httpx2.AsyncClient(timeout=16.0) as client:
                reply = await client.post(f"{gateway.url}/log", json=body)
        except httpx2.TransportError:
            self.broken += 1
            await asyncio.sleep(0.01)
            return False
        return self.judge(reply.content)

    def judge(self, content: bytes) -> bool:
        """Say what osqueryd would take the answer for; note what a gateway must never say."""
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if answer == {}:
            return True
        if not isinstance(answer, dict) or "error" not in answer or "node_invalid" in answer:
            self.odd.append(content)
        self.refused += 1
        return False


def hosts_of(neighbours: Neighbours, gateways: list[GatewayProcess], count: int = 6) -> list[Host]:
    numbers = itertools.count()
    return [Host(neighbours.inventory.add_host(number), gateways, numbers) for number in range(1, count + 1)]


def total(hosts: list[Host]) -> int:
    return sum(len(host.acknowledged) for host in hosts)


@pytest.mark.timeout(300)
async def test_gateways_killed_at_any_moment_lose_no_acknowledged_line(
    make_gateway: Make, neighbours: Neighbours, bus_for: BusFor
) -> None:
    gateways = [await make_gateway(), await make_gateway()]
    for gateway in gateways:
        await gateway.start()
    hosts, stop = hosts_of(neighbours, gateways), asyncio.Event()
    posting = [asyncio.create_task(host.post_until(stop)) for host in hosts]

    for gateway in (*gateways, gateways[0]):
        wanted = total(hosts) + 100
        await eventually(lambda least=wanted: total(hosts) >= least, timeout=60.0)
        assert gateway.service is not None
        await gateway.service.kill()
        await gateway.start()
    stop.set()
    await asyncio.gather(*posting)

    acknowledged = {number for host in hosts for number in host.acknowledged}
    assert sum(host.broken for host in hosts) > 0
    assert [host.odd for host in hosts if host.odd] == []
    assert acknowledged <= await stored_numbers(bus_for)


@pytest.mark.timeout(300)
async def test_a_gateway_told_to_stop_answers_what_is_inside_and_loses_nothing(
    make_gateway: Make, neighbours: Neighbours, bus_for: BusFor
) -> None:
    gateway = await make_gateway()
    service = await gateway.start()
    hosts, stop = hosts_of(neighbours, [gateway]), asyncio.Event()
    posting = [asyncio.create_task(host.post_until(stop)) for host in hosts]
    await eventually(lambda: total(hosts) >= 100, timeout=60.0)

    code = await service.stop()
    stop.set()
    await asyncio.gather(*posting)

    assert code == 0
    assert [host.odd for host in hosts if host.odd] == []
    assert {number for host in hosts for number in host.acknowledged} <= await stored_numbers(bus_for)


async def test_bodies_that_never_come_are_answered_with_an_error_at_the_end(make_gateway: Make) -> None:
    """An answer without a body would be a success to osqueryd, which would delete the lines."""
    gateway = await make_gateway()
    service = await gateway.start()
    trust_anybody = ssl.create_default_context()
    trust_anybody.check_hostname, trust_anybody.verify_mode = False, ssl.CERT_NONE
    head = "POST /api/v1/osquery/log HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n"
    sent = [
        (head % "Content-Length: 100").encode() + b"{",
        (head % "Content-Length: 200000").encode() + b"{",
        (head % "Transfer-Encoding: chunked").encode() + b"1\r\n{\r\n",
    ]
    readers, writers = [], []
    for port, tls in ((gateway.plain_port, None), (gateway.tls_port, trust_anybody)):
        for body in sent:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            writer.write(body)
            readers.append(reader)
            writers.append(writer)
    async with httpx2.AsyncClient(verify=trust_anybody) as client:  # so that what was sent before is being read
        for url in (gateway.url, gateway.tls_url):
            await client.post(f"{url}/distributed/read", json={})

    stopping = asyncio.create_task(service.stop())
    answers = [await asyncio.wait_for(reader.read(), 60) for reader in readers]
    for writer in writers:
        writer.close()

    assert await stopping == 0
    assert [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in answers] == [{"error": "internal"}] * 6


async def test_a_ready_gateway_knows_the_campaigns_that_were_open_before_it_started(
    make_gateway: Make, neighbours: Neighbours
) -> None:
    key = neighbours.inventory.add_host(1)
    for campaign_id in range(1, 41):
        await neighbours.live_query.start(campaign_id, [1])
    gateway = await make_gateway()
    await gateway.start()

    async with httpx2.AsyncClient() as client:
        reply = (await client.post(f"{gateway.url}/distributed/read", json={"node_key": key})).json()

    assert len(reply["queries"]) == 40


async def test_a_gateway_is_not_ready_and_calls_no_key_invalid_before_inventory_answers(
    make_gateway: Make, neighbours: Neighbours
) -> None:
    neighbours.inventory.down = True
    key = neighbours.inventory.add_host(1)
    gateway = await make_gateway()
    service = await gateway.start(wait=False)

    async def answers() -> Any:
        try:
            async with httpx2.AsyncClient() as client:
                reply = await client.post(f"{gateway.url}/config", json={"node_key": key})
        except httpx2.TransportError:
            return None
        return reply.json()

    assert await eventually(answers, timeout=60.0) == {"error": "unavailable"}
    assert not await service.is_ready()
    neighbours.inventory.down = False
    await service.ready()
    async with httpx2.AsyncClient(verify=False) as client:
        url = f"https://127.0.0.1:{gateway.tls_port}/api/osquery/config"

        async def config() -> bool:
            return (await client.post(url, json={"node_key": key})).content == neighbours.merger.body

        await eventually(config)  # a second may pass until inventory is asked again


async def test_a_process_measures_its_streams_and_refuses_logs_before_they_are_full(
    make_gateway: Make, neighbours: Neighbours, bus_for: BusFor, limit_stream: LimitStream
) -> None:
    await limit_stream(1024 * 1024)
    await (await bus_for("agent_gateway")).js.publish("logs.result.v1.0", b"x" * 600_000)
    key = neighbours.inventory.add_host(1)
    gateway = await make_gateway()
    gateway.environment["FLOTILLA_STREAMS_FULL_AT"] = "0.5"
    service = await gateway.start()

    async with httpx2.AsyncClient() as client:

        async def is_closed() -> bool:
            text = (await client.get(f"http://127.0.0.1:{service.health_port}/metrics")).text
            return 'flotilla_gateway_class_closed{class="log"} 1.0' in text

        async def post(path: str, **body: object) -> Any:
            return (await client.post(f"{gateway.url}/{path}", json={"node_key": key, **body})).json()

        await eventually(is_closed, timeout=30.0)
        refused = await post("log", log_type="result", data=[{"n": 1}])
        polled = await post("distributed/read")
        await (await bus_for("log_shipper")).js.purge_stream(STREAM)

        async def takes_logs() -> bool:
            return bool(await post("log", log_type="result", data=[{"n": 2}]) == {})

        await eventually(takes_logs, timeout=30.0)

    assert (refused, polled) == ({"error": "unavailable"}, {"queries": {}})
    assert await stored_numbers(bus_for) == {2}


async def test_a_process_can_be_told_to_give_no_etags(make_gateway: Make, neighbours: Neighbours) -> None:
    key = neighbours.inventory.add_host(1)
    gateway = await make_gateway(config_etag="false")
    await gateway.start()

    async with httpx2.AsyncClient() as client:

        async def is_whole() -> bool:
            reply = await client.post(f"{gateway.url}/config", json={"node_key": key, "etag": ""})
            return reply.content == neighbours.merger.body

        await eventually(is_whole, timeout=30.0)
