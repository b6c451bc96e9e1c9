"""A reporter and a collector on real servers, with a clock that a test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import pytest
from analytics.app import create_collector
from analytics.collector_client import CollectorClient
from analytics.deps import CollectorDeps, ReporterDeps
from flotilla_common.http.health import QuietServer
from flotilla_common.testing.database import Database
from uvicorn import Config


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def collector_url(database: Database) -> AsyncIterator[str]:
    """A running collector."""
    app = create_collector(CollectorDeps(database.sessions("analytics")))
    server = QuietServer(Config(app, port=0, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


@pytest.fixture
async def client(collector_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=collector_url) as client:
        yield client


@pytest.fixture
async def reporter(database: Database, collector_url: str, clock: Clock) -> AsyncIterator[ReporterDeps]:
    """A reporter that reaches the collector."""
    to_collector = CollectorClient(collector_url)
    yield ReporterDeps(database.sessions("analytics"), to_collector, clock)
    await to_collector.close()


@pytest.fixture
def silent_reporter(database: Database, clock: Clock) -> ReporterDeps:
    """A reporter without a collector."""
    return ReporterDeps(database.sessions("analytics"), None, clock)


def small_report(**changes: object) -> dict[str, object]:
    """The least that a collector takes."""
    return {
        "reportId": str(uuid4()),
        "anonymousIdentifier": str(uuid4()),
        "builtAt": "2026-11-24T12:00:00Z",
        "fleetVersion": "0.1.0",
        "numHostsEnrolled": 3,
        **changes,
    }
