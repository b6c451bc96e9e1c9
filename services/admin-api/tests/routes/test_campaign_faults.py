"""Viewers while parts are down, and viewers that are slow."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from admin_api.domain import campaign_views
from admin_api.routes import campaign_feed, campaign_sockets, campaign_watch
from flotilla_common.testing.waiting import eventually
from redis.asyncio import Redis
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

MIB = 1024 * 1024


class Cable:
    """A TCP connection to a server that can be pulled out and put in again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._writers -= {writer, back}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # cut: the other end notices by itself
    finally:
        writer.transport.abort()


@pytest.fixture
async def redis_cable(app, deps, settings) -> AsyncIterator[Cable]:
    """admin-api's connection to Redis."""
    url = settings.redis_url.get_secret_value()
    parts = urlsplit(url)
    cable = Cable(parts.hostname, parts.port)
    await cable.connect()
    redis = Redis.from_url(url.replace(f":{parts.port}/", f":{cable.port}/"), socket_timeout=3)
    app.state.deps = replace(deps, redis=redis)
    yield cable
    await redis.aclose()
    await cable.cut()


@pytest.fixture
async def postgres_cable(app, deps, settings) -> AsyncIterator[Cable]:
    """admin-api's connection to Postgres."""
    url = settings.database_url.get_secret_value()
    parts = urlsplit(url)
    cable = Cable(parts.hostname, parts.port)
    await cable.connect()
    engine = create_async_engine(url.replace(f":{parts.port}/", f":{cable.port}/"), poolclass=NullPool)
    app.state.deps = replace(deps, sessions=async_sessionmaker(engine, expire_on_commit=False))
    yield cable
    await cable.cut()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(campaign_feed, "OUTAGE_SECONDS", 0.1)


async def test_a_viewer_waits_for_redis_and_misses_nothing(fleet, admin, live_query, watching, redis_cable):
    hosts = [await fleet.host(name) for name in "abc"]
    campaign = await live_query.campaign(hosts)

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        await live_query.answer(campaign, hosts[0])
        results = await viewer.results(1)
        await redis_cable.cut()
        await live_query.answer(campaign, hosts[1])
        await redis_cable.connect()
        await live_query.answer(campaign, hosts[2])
        results += await viewer.results(2)

    assert [result["host"]["id"] for result in results] == hosts


async def test_a_viewer_that_comes_while_redis_is_down_is_served_afterwards(
    fleet, admin, live_query, watching, redis_cable
):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])
    await live_query.answer(campaign, host)
    await redis_cable.cut()

    async with watching(admin, campaign) as viewer:
        await eventually(lambda: live_query.viewed)
        await redis_cable.connect()
        [result] = await viewer.results(1)

    assert result["host"]["id"] == host


async def test_a_viewer_waits_for_postgres_and_misses_nothing(fleet, admin, live_query, watching, postgres_cable):
    hosts = [await fleet.host(name) for name in "ab"]
    campaign = await live_query.campaign(hosts)

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        await postgres_cable.cut()
        await live_query.answer(campaign, hosts[0])
        await live_query.answer(campaign, hosts[1])
        await postgres_cable.connect()
        results = await viewer.results(2)

    assert [result["host"]["hostname"] for result in results] == ["a", "b"]


async def test_who_comes_while_postgres_is_down_is_told(fleet, admin, live_query, watching, postgres_cable):
    campaign = await live_query.campaign([await fleet.host("a")])
    await postgres_cable.cut()

    async with watching(admin, campaign) as viewer:
        error = await viewer.next("error")
        await viewer.closed()

    assert error["data"] == "a part that is needed does not answer now"


async def test_answers_come_while_the_bus_is_down(fleet, admin, live_query, watching, nats_server):
    host = await fleet.host("a")
    campaign = await live_query.campaign([host])

    async with watching(admin, campaign) as viewer:
        await viewer.next("status")
        nats_server.running.stop()
        try:
            await live_query.answer(campaign, host)
            [result] = await viewer.results(1)
        finally:
            nats_server.running.start()

    assert result["host"]["id"] == host


async def test_the_state_of_the_result_store_is_told(ask, admin, redis_cable):
    fine = await ask(admin, "GET /status/result_store")
    await redis_cable.cut()

    assert fine.status_code == 200
    assert (await ask(admin, "GET /status/result_store")).status_code == 503


async def test_a_synchronous_run_outlasts_a_short_outage_of_redis(ask, fleet, admin, live_query, redis_cable):
    host, query = await fleet.host("a"), await fleet.query("Ports")

    async def play(campaign_id: int, host_ids: list[int]) -> None:
        await redis_cable.cut()
        await live_query.answer(campaign_id, host)
        await redis_cable.connect()

    live_query.script = play
    answer = await ask(admin, f"POST /queries/{query}/run", {"host_ids": [host]})

    assert answer.json()["responded_host_count"] == 1


class SlowViewer:
    """A viewer that says what it wants and then takes only what it is told to take."""

    def __init__(self, door: str) -> None:
        host, port = door.split(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._address = (host, int(port))
        self._loop = asyncio.get_running_loop()
        self._socket.setblocking(False)

    async def watch(self, member, campaign: int) -> None:
        await self._loop.sock_connect(self._socket, self._address)
        key = base64.b64encode(b"0123456789abcdef").decode()
        await self._loop.sock_sendall(
            self._socket,
            (
                "GET /api/v1/fleet/results/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode(),
        )
        assert b"101" in await self.take(12)
        for kind, data in (("auth", {"token": member.token}), ("select_campaign", {"campaign_id": campaign})):
            await self._loop.sock_sendall(self._socket, _frame(json.dumps({"type": kind, "data": data}).encode()))

    async def take(self, most: int) -> bytes:
        async with asyncio.timeout(30):
            return await self._loop.sock_recv(self._socket, most)

    def close(self) -> None:
        self._socket.close()


def _frame(text: bytes) -> bytes:
    # A text frame as RFC 6455 wants it of clients, masked with zeros.
    length = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + len(text).to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + text


def unsent(server) -> int:
    """How many bytes the server keeps for all connections, beside what the system does."""
    return sum(connection.transport.get_write_buffer_size() for connection in server.server_state.connections)


@pytest.fixture
async def large_campaign(fleet, live_query) -> int:
    """A campaign with 48 MiB of rows in 24 answers."""
    hosts = [await fleet.host(f"host-{number}") for number in range(24)]
    campaign = await live_query.campaign(hosts)
    rows = [{"blob": "x" * 1023}] * 2048
    for host in hosts:
        await live_query.answer(campaign, host, rows)
    return campaign


async def test_a_viewer_that_takes_nothing_holds_back_only_itself(
    admin, large_campaign, watching, server, door, live_query
):
    slow = SlowViewer(door)
    await slow.watch(admin, large_campaign)
    await eventually(lambda: unsent(server) > 0, timeout=30.0)
    async with watching(admin, large_campaign) as viewer:
        assert len(await viewer.results(24)) == 24
        kept = unsent(server)
    slow.close()

    assert 0 < kept < 8 * MIB


async def test_a_viewer_that_takes_nothing_for_long_is_sent_away(admin, large_campaign, door, deps, monkeypatch):
    monkeypatch.setattr(campaign_sockets, "SEND_SECONDS", 0.3)
    slow = SlowViewer(door)
    await slow.watch(admin, large_campaign)

    await eventually(lambda: deps.views.viewers == 1)
    await eventually(lambda: deps.views.viewers == 0, timeout=30.0)
    slow.close()


async def test_live_query_hears_of_a_slow_viewer_too(admin, large_campaign, server, door, live_query, monkeypatch):
    monkeypatch.setattr(campaign_watch, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(campaign_views, "VIEWED_SECONDS", 0.1)
    slow = SlowViewer(door)
    await slow.watch(admin, large_campaign)
    await eventually(lambda: unsent(server) > 0, timeout=30.0)
    heard = len(live_query.viewed)

    await eventually(lambda: len(live_query.viewed) > heard + 2)
    slow.close()


async def test_logging_out_ends_even_a_viewer_that_takes_nothing(
    ask, admin, large_campaign, server, door, deps, monkeypatch
):
    monkeypatch.setattr(campaign_watch, "CHECK_SECONDS", 0.05)
    slow = SlowViewer(door)
    await slow.watch(admin, large_campaign)
    await eventually(lambda: unsent(server) > 0, timeout=30.0)
    monkeypatch.setattr(campaign_sockets, "SEND_SECONDS", 0.3)
    await ask(admin, "POST /logout")

    await eventually(lambda: deps.views.viewers == 0, timeout=30.0)
    slow.close()
