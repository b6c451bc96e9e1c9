"""Two gateways behind a TCP balancer, under the load of hosts that behave like osqueryd: rolled, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import RunningService

from .conftest import BusFor, Neighbours
from .gateway_processes import CONFIG, LOG, PREFIX, READ, GatewayProcess, Make, Osqueryd, stored_numbers

pytestmark = pytest.mark.timeout(300)
HOSTS = 8


@dataclass
class Balancer:
    """Passes connections on to the gateways in turn, byte by byte; one that takes no connection is passed over.

    It knows nothing of readiness: a gateway opens its port when it can serve.
    """

    gateways: list[GatewayProcess]
    turns: Iterator[int] = field(default_factory=itertools.count)
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{PREFIX}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Balancer]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(self.turns)
        for place in range(len(self.gateways)):
            gateway = self.gateways[(first + place) % len(self.gateways)]
            with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):  # it is being killed
                upstream = await asyncio.open_connection("127.0.0.1", gateway.tls_port)
                await relay((reader, writer), upstream)
                return
        writer.transport.abort()


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def relay(one: Pair, other: Pair) -> None:
    """Copy both ways until either side ends."""
    copying = [asyncio.create_task(copy(one[0], other[1])), asyncio.create_task(copy(other[0], one[1]))]
    await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
    for task in copying:
        task.cancel()
    for _, writer in (one, other):
        writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@dataclass
class Fleet:
    """Hosts that live until they are stopped."""

    hosts: list[Osqueryd]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        numbers = itertools.count()
        self.tasks = [asyncio.create_task(host.live_until(self.stop, lambda: next(numbers))) for host in self.hosts]

    async def each_goes_on(self) -> None:
        """Wait until every host has had an answer to each kind of request after now."""
        before = [(host.answered[READ], host.answered[CONFIG], host.answered[LOG]) for host in self.hosts]

        def all_went_on() -> bool:
            return all(
                all(host.answered[path] > had for path, had in zip((READ, CONFIG, LOG), counts, strict=True))
                for host, counts in zip(self.hosts, before, strict=True)
            )

        await eventually(all_went_on, timeout=60.0)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.gather(*self.tasks)

    @property
    def failures(self) -> list[str]:
        return [reason for host in self.hosts for reason in host.failures]

    @property
    def acknowledged(self) -> set[int]:
        return {number for host in self.hosts for number in host.acknowledged}


@dataclass
class Site:
    """Gateways, the balancer before them, and the hosts that come by it."""

    gateways: list[GatewayProcess]
    fleet: Fleet


@pytest.fixture
async def site(make_gateway: Make, neighbours: Neighbours) -> AsyncIterator[Site]:
    gateways = [await make_gateway(), await make_gateway()]
    await asyncio.gather(*(gateway.start() for gateway in gateways))
    async with Balancer(gateways).open() as balancer:
        keys = [neighbours.inventory.add_host(number) for number in range(1, HOSTS + 1)]
        fleet = Fleet([Osqueryd(key, lambda: balancer.url) for key in keys])
        fleet.start()
        yield Site(gateways, fleet)
        await fleet.end()


async def end_and_start_each(site: Site, end: Callable[[RunningService], Awaitable[object]]) -> None:
    """End one gateway after the other and start it again; hosts go on before, between and after."""
    await site.fleet.each_goes_on()
    for gateway in site.gateways:
        await end(gateway.running)
        await site.fleet.each_goes_on()
        await gateway.start()
        await site.fleet.each_goes_on()
    await site.fleet.end()


async def test_two_gateways_rolled_one_after_the_other_under_load_fail_no_request(
    site: Site, neighbours: Neighbours, bus_for: BusFor
) -> None:
    codes: list[int] = []

    async def stop(service: RunningService) -> None:
        codes.append(await service.stop())

    await end_and_start_each(site, stop)

    assert codes == [0, 0]
    assert site.fleet.failures == []
    assert neighbours.inventory.enrolls == []
    assert site.fleet.acknowledged <= await stored_numbers(bus_for)


async def test_hosts_of_a_gateway_that_is_killed_go_on_and_none_enrolls_again(
    site: Site, neighbours: Neighbours, bus_for: BusFor
) -> None:
    await end_and_start_each(site, RunningService.kill)

    await nothing_but_broken_exchanges(site.fleet, neighbours, bus_for)


async def test_hosts_whose_gateways_are_all_killed_go_on_when_one_is_back_and_none_enrolls_again(
    site: Site, neighbours: Neighbours, bus_for: BusFor
) -> None:
    fleet = site.fleet
    await fleet.each_goes_on()

    await asyncio.gather(*(gateway.running.kill() for gateway in site.gateways))
    await eventually(lambda: fleet.failures, timeout=60.0)
    await site.gateways[0].start()
    await fleet.each_goes_on()
    await fleet.end()

    assert fleet.failures != []
    await nothing_but_broken_exchanges(fleet, neighbours, bus_for)


async def nothing_but_broken_exchanges(fleet: Fleet, neighbours: Neighbours, bus_for: BusFor) -> None:
    assert [reason for reason in fleet.failures if ": broken twice: " not in reason] == []
    assert sum(host.keys_lost for host in fleet.hosts) == 0
    assert neighbours.inventory.enrolls == []
    assert fleet.acknowledged <= await stored_numbers(bus_for)
