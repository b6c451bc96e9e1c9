"""Several workers behind the same ports: each a gateway of its own, watched by their parent."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import os
import signal
import socket
import ssl
from contextlib import AsyncExitStack

import httpx2
import pytest
from flotilla_common.testing import eventually
from flotilla_common.testing.plugin import NatsOfWorker
from flotilla_stack.certificates import make_keys

from .conftest import BusFor, Neighbours
from .gateway_processes import (
    LOG,
    PREFIX,
    READ,
    GatewayProcess,
    Make,
    Osqueryd,
    connections_to_each,
    is_alive,
    metrics_of,
    stored_numbers,
)

pytestmark = pytest.mark.timeout(300)
TWO = 2


async def shown_certificate(gateway: GatewayProcess) -> bytes:
    """Return the certificate that whichever worker answers shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.tls_port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


async def status(port: int, path: str) -> int:
    async with httpx2.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{port}{path}")).status_code


async def names_on_the_bus(nats_server: NatsOfWorker) -> set[str]:
    assert nats_server.running is not None
    async with httpx2.AsyncClient() as client:
        connections = (await client.get(f"{nats_server.running.server.monitoring_url}/connz")).json()["connections"]
    return {connection["name"] for connection in connections}


async def test_workers_share_the_ports_and_each_has_health_metrics_and_a_connection_of_its_own(
    make_gateway: Make, neighbours: Neighbours, nats_server: NatsOfWorker
) -> None:
    key = neighbours.inventory.add_host(1)
    gateway = await make_gateway(TWO)
    await gateway.start()

    async def asked() -> list[float]:
        return [(await metrics_of(port)).get("flotilla_gateway_requests_total", 0) for port in gateway.health_ports]

    async def both_were_asked() -> bool:
        for url in (gateway.url, gateway.tls_url):
            async with httpx2.AsyncClient(verify=False) as client:
                assert (await client.post(f"{url}/{READ}", json={"node_key": key})).json() == {"queries": {}}
        return min(await asked()) > 0

    await eventually(both_were_asked, timeout=60.0)

    assert len(gateway.worker_pids) == TWO
    assert [await status(port, "/readyz") for port in gateway.health_ports] == [200, 200]
    parent = await metrics_of(gateway.running.health_port)
    assert parent["flotilla_gateway_worker_open"] == TWO
    assert "flotilla_gateway_requests_total" not in parent
    names = {name for name in await names_on_the_bus(nats_server) if name.startswith("agent_gateway")}
    assert names == {"agent_gateway worker 1", "agent_gateway worker 2"}


async def test_a_killed_worker_is_started_again_while_the_other_one_serves(
    make_gateway: Make, neighbours: Neighbours
) -> None:
    host = Osqueryd(neighbours.inventory.add_host(1), lambda: gateway.tls_url)
    gateway = await make_gateway(TWO)
    service = await gateway.start()
    killed, other = gateway.worker_pids

    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: not is_alive(killed))
    meanwhile = [await host.ask(READ) for _ in range(10)]
    readiness = await status(service.health_port, "/readyz")
    await service.ready()

    assert all(verdict.is_success for verdict in meanwhile)
    assert readiness == 503
    assert other in gateway.worker_pids
    assert killed not in gateway.worker_pids
    assert (await metrics_of(service.health_port))["flotilla_gateway_worker_restarts_total"] == 1


async def test_the_parent_is_not_alive_when_a_worker_does_not_answer_any_more(make_gateway: Make) -> None:
    gateway = await make_gateway(TWO)
    service = await gateway.start()
    stuck = gateway.worker_pids[0]

    os.kill(stuck, signal.SIGSTOP)
    while_stuck = [await status(service.health_port, path) for path in ("/healthz", "/readyz")]
    os.kill(stuck, signal.SIGCONT)
    await service.ready()

    assert while_stuck == [503, 503]
    assert await status(service.health_port, "/healthz") == 200


async def test_a_worker_that_cannot_start_ends_the_parent_with_its_exit_code(make_gateway: Make) -> None:
    gateway = await make_gateway(TWO)
    with socket.create_server(("127.0.0.1", gateway.plain_port)):
        service = await gateway.start(wait=False)
        code = await asyncio.wait_for(service.process.wait(), 90)

    assert code == 1


async def test_a_worker_that_never_started_ends_the_others_too(make_gateway: Make) -> None:
    gateway = await make_gateway(TWO)
    service = await gateway.start(wait=False)
    with socket.create_server(("127.0.0.1", service.health_port + TWO)):
        code = await asyncio.wait_for(service.process.wait(), 90)

    assert code == 3  # uvicorn's way to say that a port is taken


async def test_no_worker_outlives_a_killed_parent(make_gateway: Make) -> None:
    gateway = await make_gateway(TWO)
    service = await gateway.start()
    workers = gateway.worker_pids

    await service.kill()

    await eventually(lambda: not any(is_alive(pid) for pid in workers), timeout=30.0)


async def test_a_parent_told_to_stop_stops_all_and_loses_nothing(
    make_gateway: Make, neighbours: Neighbours, bus_for: BusFor
) -> None:
    gateway = await make_gateway(TWO)
    service = await gateway.start()
    workers, numbers, stop = gateway.worker_pids, itertools.count(), asyncio.Event()
    hosts = [Osqueryd(neighbours.inventory.add_host(n), lambda: gateway.tls_url) for n in range(1, 5)]
    living = [asyncio.create_task(host.live_until(stop, lambda: next(numbers))) for host in hosts]
    await eventually(lambda: all(host.answered[LOG] >= 3 for host in hosts), timeout=60.0)

    code = await service.stop()
    stop.set()
    await asyncio.gather(*living)

    assert code == 0
    assert not any(is_alive(pid) for pid in workers)
    assert {n for host in hosts for n in host.acknowledged} <= await stored_numbers(bus_for)
    assert all(reason.partition(": ")[2].startswith("broken twice") for host in hosts for reason in host.failures)


async def test_workers_stopped_one_after_the_other_under_load_fail_no_request(
    make_gateway: Make, neighbours: Neighbours, bus_for: BusFor
) -> None:
    gateway = await make_gateway(TWO)
    service = await gateway.start()
    numbers, stop = itertools.count(), asyncio.Event()
    hosts = [Osqueryd(neighbours.inventory.add_host(n), lambda: gateway.tls_url) for n in range(1, 9)]
    living = [asyncio.create_task(host.live_until(stop, lambda: next(numbers))) for host in hosts]
    await eventually(lambda: all(host.answered[LOG] >= 3 for host in hosts), timeout=60.0)

    for pid in gateway.worker_pids:
        os.kill(pid, signal.SIGTERM)
        await eventually(lambda gone=pid: not is_alive(gone), timeout=30.0)
        await service.ready()
    stop.set()
    await asyncio.gather(*living)

    assert [reason for host in hosts for reason in host.failures] == []
    assert sum(host.keys_lost for host in hosts) == 0
    assert neighbours.inventory.enrolls == []
    assert {n for host in hosts for n in host.acknowledged} <= await stored_numbers(bus_for)
    assert (await metrics_of(service.health_port))["flotilla_gateway_worker_restarts_total"] == TWO


async def test_every_worker_shows_a_renewed_certificate(make_gateway: Make) -> None:
    gateway = await make_gateway(TWO, tls_reload_seconds=0.1)
    await gateway.start()
    before = await shown_certificate(gateway)
    renewed = make_keys(gateway.keys.directory / "renewed", datetime.datetime.now(datetime.UTC))
    gateway.keys.key.write_bytes(renewed.key.read_bytes())
    gateway.keys.certificate.write_bytes(renewed.certificate.read_bytes())
    expected = ssl.PEM_cert_to_DER_cert(renewed.certificate.read_text())

    async def only_the_new_one_is_shown() -> bool:
        try:
            return {await shown_certificate(gateway) for _ in range(16)} == {expected}
        except OSError:  # a connection without a request, cut when its listener went
            return False

    await eventually(only_the_new_one_is_shown, timeout=30.0)
    assert before != expected


async def test_a_host_that_moves_between_workers_is_offered_a_campaign_once_by_each(
    make_gateway: Make, neighbours: Neighbours
) -> None:
    key = neighbours.inventory.add_host(1)
    gateway = await make_gateway(TWO)
    await gateway.start()
    async with AsyncExitStack() as stack:
        workers = await connections_to_each(gateway, stack)
        await neighbours.live_query.start(5, [1])

        async def know_of_it() -> bool:
            open_ones = [(await metrics_of(port))["flotilla_gateway_campaigns_open"] for port in gateway.health_ports]
            return open_ones == [1, 1]

        await eventually(know_of_it, timeout=60.0)
        offers = [
            [bool((await worker.post(f"{PREFIX}/{READ}", json={"node_key": key})).json()["queries"]) for _ in range(10)]
            for worker in workers
        ]
        await neighbours.live_query.settle(5, [1])

    assert offers == [[True, *[False] * 9]] * TWO
