"""Hosts, what inventory and live-query do for people, and viewers over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import uvicorn
from admin_api.routes.campaign_sockets import SERVER_OPTIONS
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.campaigns import (
    Budget,
    CampaignPausedV1,
    CampaignStartedV1,
    CampaignStoppedV1,
    CampaignViewedV1,
    PauseCampaignV1,
    StartCampaignV1,
    StopCampaignV1,
    TargetCounts,
)
from flotilla_common.contracts.hosts import (
    ChangeLabelMembersV1,
    DeleteHostsV1,
    HostsAffectedV1,
    RefetchHostV1,
    TransferHostsV1,
)
from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.db.models.admin_api import Label, Query
from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership
from flotilla_common.db.models.live_query import Campaign, CampaignBudget, LedgerRow
from flotilla_common.errors import FleetError
from flotilla_common.http.health import QuietServer
from flotilla_common.testing.database import Database
from flotilla_common.testing.waiting import eventually
from redis.asyncio import Redis
from sqlalchemy import update
from sqlmodel import col
from websockets.asyncio.client import ClientConnection, connect

LONG_AGO = timedelta(hours=1)


@dataclass
class Fleet:
    """Rows that inventory and admin-api would have written."""

    database: Database
    _numbers: count = field(default_factory=lambda: count(1))

    async def host(self, name: str, team: int | None = None, *, seen: timedelta = timedelta(), **facts: Any) -> int:
        """Enroll a host that was seen `seen` ago; its node key is `key-of-NAME`."""
        now = datetime.now(UTC)
        row = Host(**{
            "revision": next(self._numbers), "host_identifier": f"id-{name}", "hostname": name, "team_id": team,
            "node_key_hash": hash_node_key(f"key-of-{name}"), "last_enrolled_at": now, "created_at": now,
            "updated_at": now, **facts,
        })  # fmt: skip
        await self.database.add(row)
        assert row.id is not None
        await self.database.add(
            HostSeen(host_id=row.id, seen_at=now - seen), LabelMembership(label_id=ALL_HOSTS, host_id=row.id)
        )
        return row.id

    async def label(self, name: str, *host_ids: int, manual: bool = True) -> int:
        """Make a label with members."""
        row = Label(name=name, label_membership_type="manual" if manual else "dynamic")
        await self.database.add(row)
        assert row.id is not None
        await self.put_into(row.id, *host_ids)
        return row.id

    async def put_into(self, label_id: int, *host_ids: int) -> None:
        """Put hosts into a label, built-in ones too."""
        await self.database.add(*(LabelMembership(label_id=label_id, host_id=host_id) for host_id in host_ids))

    async def query(self, name: str, team: int | None = None, **columns: Any) -> int:
        """Save a query."""
        row = Query(**{"name": name, "query": "SELECT port FROM listening_ports", "team_id": team, **columns})
        await self.database.add(row)
        assert row.id is not None
        return row.id


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return Fleet(database)


@asynccontextmanager
async def in_background(*runs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run side by side as long as the block does."""
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def responding(bus: Bus, *handlers: tuple[type, Callable[..., Any]]) -> AsyncIterator[None]:
    """Answer requests; the block starts when they reach us."""
    listening = [asyncio.Event() for _ in handlers]
    runs = [
        respond(bus, Responder(request, handle), None, ready=ready)
        for (request, handle), ready in zip(handlers, listening, strict=True)
    ]
    async with in_background(*runs):
        await asyncio.gather(*(ready.wait() for ready in listening))
        yield


@dataclass
class Inventory:
    """inventory's part: remembers what it was asked, answers it, changes nothing."""

    asked: list[Any] = field(default_factory=list)

    async def answer(self, request: Any, _: None) -> HostsAffectedV1:
        self.asked.append(request)
        return HostsAffectedV1(count=1)


@pytest.fixture
async def inventory(bus_for) -> AsyncIterator[Inventory]:
    part = Inventory()
    kinds = (DeleteHostsV1, TransferHostsV1, RefetchHostV1, ChangeLabelMembersV1)
    async with responding(await bus_for("inventory"), *((kind, part.answer) for kind in kinds)):
        yield part


@dataclass
class LiveQuery:
    """live-query's part, as its contracts say: campaigns with ledgers, and streams of rows in Redis.

    `script` runs, if given, when a campaign has started: it plays the hosts. `refusal` is raised instead of starting.
    """

    database: Database
    redis: Redis
    started: list[StartCampaignV1] = field(default_factory=list)
    stopped: list[StopCampaignV1] = field(default_factory=list)
    paused: list[PauseCampaignV1] = field(default_factory=list)
    viewed: list[CampaignViewedV1] = field(default_factory=list)
    script: Callable[[int, list[int]], Coroutine[Any, Any, None]] | None = None
    refusal: FleetError | None = None
    _scripts: set[asyncio.Task[None]] = field(default_factory=set)

    async def campaign(
        self,
        host_ids: list[int],
        user_id: int = 1,
        query_id: int | None = None,
        budget: Budget | None = None,
        **columns: Any,
    ) -> int:
        """Start a campaign without being asked; return its id."""
        now = datetime.now(UTC)
        row = Campaign(**{
            "sql": "SELECT 1", "user_id": user_id, "query_id": query_id, "trace_id": "0" * 32, "command": b"-",
            "target_count": len(host_ids), "created_at": now, "deadline": now + timedelta(minutes=1), **columns,
        })  # fmt: skip
        await self.database.add(row)
        assert row.id is not None
        await self.database.add(*(LedgerRow(campaign_id=row.id, host_id=host_id) for host_id in host_ids))
        if budget is not None:
            await self.database.add(CampaignBudget(campaign_id=row.id, **budget.model_dump()))
        return row.id

    async def on_start(self, request: StartCampaignV1, _: None) -> CampaignStartedV1:
        if self.refusal is not None:
            raise self.refusal
        self.started.append(request)
        host_ids = await self._targets(request)
        campaign_id = await self.campaign(
            host_ids, request.user_id, request.query_id, request.budget, sql=request.sql, kind=request.kind
        )
        if self.script is not None:
            task = asyncio.ensure_future(self.script(campaign_id, host_ids))
            self._scripts.add(task)
            task.add_done_callback(lambda done: done.result())
        total = len(host_ids)
        counts = TargetCounts(total=total, online=total, offline=0, missing_in_action=0, new=0)
        return CampaignStartedV1(campaign_id=campaign_id, created_at=datetime.now(UTC), counts=counts)

    async def finish(self) -> None:
        """Wait for what scripts still write: a test may be over as soon as it has its answer."""
        if self._scripts:
            await asyncio.wait(self._scripts, timeout=20)

    async def _targets(self, request: StartCampaignV1) -> list[int]:
        # Enough for these tests: listed hosts, or whoever is in one of the labels or teams.
        members = {
            row.host_id for row in await self.database.rows(LabelMembership) if row.label_id in request.label_ids
        }
        allowed = request.allowed_team_ids
        return sorted(
            host.id or 0
            for host in await self.database.rows(Host)
            if (host.id in request.host_ids or host.id in members or (host.team_id or 0) in request.team_ids)
            and (allowed is None or (host.team_id or 0) in allowed)
        )

    async def on_stop(self, request: StopCampaignV1, _: None) -> CampaignStoppedV1:
        self.stopped.append(request)
        await self.end(request.campaign_id, request.reason)
        return CampaignStoppedV1(stopped=True)

    async def on_pause(self, request: PauseCampaignV1, _: None) -> CampaignPausedV1:
        if self.refusal is not None:
            raise self.refusal
        self.paused.append(request)
        values = {"paused_at": datetime.now(UTC) if request.paused else None, "pause_reason": request.reason or None}
        await self._write(update(Campaign).where(col(Campaign.id) == request.campaign_id).values(**values))
        return CampaignPausedV1(changed=True)

    async def on_viewed(self, bus: Bus) -> None:
        subscription = await bus.client.subscribe(CampaignViewedV1.subject)
        async for message in subscription.messages:
            self.viewed.append(CampaignViewedV1.model_validate_json(message.data))

    async def answer(
        self, campaign_id: int, host_id: int, rows: object = ({"port": "22"},), outcome: str = "answered", **more: str
    ) -> None:
        """Settle a host: the stream first, then the ledger."""
        text = rows if isinstance(rows, bytes) else json.dumps(rows)
        fields = {"host": host_id, "outcome": outcome, "error": "", "rows": text, "row_count": 1, "truncated": 0}
        await self.redis.xadd(campaign_rows(campaign_id), {**fields, "stats": "null", **more})
        await self._write(
            update(LedgerRow)
            .where(col(LedgerRow.campaign_id) == campaign_id, col(LedgerRow.host_id) == host_id)
            .values(state=outcome)
        )

    async def offered(self, campaign_id: int) -> None:
        """Note that every host has taken the query."""
        await self._write(
            update(LedgerRow).where(col(LedgerRow.campaign_id) == campaign_id).values(offered_at=datetime.now(UTC))
        )

    async def complete(self, campaign_id: int, reason: str = "complete") -> None:
        """End a campaign in the database: nothing comes after it, only the word of it may be missing."""
        values = {"status": "complete", "end_reason": reason, "ended_at": datetime.now(UTC)}
        await self._write(update(Campaign).where(col(Campaign.id) == campaign_id).values(**values))

    async def end(self, campaign_id: int, reason: str = "complete") -> None:
        """End a campaign and tell its viewers."""
        await self.complete(campaign_id, reason)
        await self.redis.xadd(campaign_rows(campaign_id), {"end": reason})

    async def _write(self, statement: Any) -> None:
        async with self.database.sessions("live_query").begin() as session:
            await session.execute(statement)


@pytest.fixture
async def live_query(database: Database, redis_url: str, bus_for) -> AsyncIterator[LiveQuery]:
    redis = Redis.from_url(redis_url)
    part = LiveQuery(database, redis)
    bus = await bus_for("live_query")
    answers = ((StartCampaignV1, part.on_start), (StopCampaignV1, part.on_stop), (PauseCampaignV1, part.on_pause))
    async with responding(bus, *answers):
        async with in_background(part.on_viewed(bus)):
            await bus.settle()
            yield part
            await part.finish()
    await redis.aclose()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[QuietServer]:
    """Serve an application on a real port."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1, **SERVER_OPTIONS
    )
    running = QuietServer(config)
    task = asyncio.ensure_future(running.serve())
    await eventually(lambda: running.started)
    yield running
    running.should_exit = True
    await task


def address_of(running: QuietServer) -> str:
    """Return host and port of a server."""
    return "{}:{}".format(*running.servers[0].sockets[0].getsockname()[:2])


@pytest.fixture
async def server(app) -> AsyncIterator[QuietServer]:
    """The application on a real port: WebSockets need one."""
    async with serving(app) as running:
        yield running


@pytest.fixture
def door(server: QuietServer) -> str:
    """Host and port of the server."""
    return address_of(server)


class Viewer:
    """A person's browser or CLI: a raw WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, kind: str, data: object) -> None:
        await self.connection.send(json.dumps({"type": kind, "data": data}))

    async def next(self, kind: str | None = None) -> dict[str, Any]:
        """Return the next message (of a kind, passing others over)."""
        while True:
            async with asyncio.timeout(30):
                found: dict[str, Any] = json.loads(await self.connection.recv())
            if kind in {None, found["type"]}:
                return found

    async def results(self, number: int) -> list[dict[str, Any]]:
        """Return the data of so many results."""
        return [(await self.next("result"))["data"] for _ in range(number)]

    async def closed(self) -> int:
        """Wait for the end of the connection; return its code."""
        async with asyncio.timeout(30):
            await self.connection.wait_closed()
        assert self.connection.close_code is not None
        return self.connection.close_code


Watching = Callable[..., AbstractAsyncContextManager[Viewer]]


@pytest.fixture
def dial(door: str) -> Callable[..., AbstractAsyncContextManager[Viewer]]:
    """`async with dial() as viewer`: a connection on which nothing was said yet."""

    @asynccontextmanager
    async def open_socket(path: str = "/api/latest/fleet/results/websocket", **options: Any) -> AsyncIterator[Viewer]:
        async with connect(f"ws://{door}{path}", max_size=None, **options) as connection:
            yield Viewer(connection)

    return open_socket


@pytest.fixture
def watching(dial) -> Watching:
    """`async with watching(member, campaign_id) as viewer`: auth and select_campaign have been sent."""

    @asynccontextmanager
    async def watch(member: Any, campaign_id: int, **more: Any) -> AsyncIterator[Viewer]:
        async with dial() as viewer:
            await viewer.send("auth", {"token": member.token})
            await viewer.send("select_campaign", {"campaign_id": campaign_id, **more})
            yield viewer

    return watch
