"""config-merger as it runs: its own role, its own NATS user, bucket PLANS."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from config_merger.app import listen
from config_merger.deps import Deps
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.clock import utc_now
from flotilla_common.contracts.plans import BUCKET, PlanHead, config_key, head_key
from flotilla_common.db.models.admin_api import AppConfig, Query, QueryLabel, Team
from flotilla_common.testing.database import Database
from sqlalchemy import delete, update
from sqlmodel import SQLModel, col


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(utc_now())


@pytest.fixture
async def deps(database, bus_for, clock) -> Deps:
    bus = await bus_for("config_merger")
    return Deps(database.sessions("config_merger"), bus, await open_bucket(bus, BUCKET), clock)


@pytest.fixture
async def running(deps) -> AsyncIterator[Deps]:
    """Everything that hears, started; ended after the test."""
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as tasks:
            await listen(tasks, deps)
            yield deps
            for task in asyncio.all_tasks():
                if task in tasks._tasks:
                    task.cancel()


@dataclass(frozen=True)
class Definitions:
    """What admin-api would have written."""

    database: Database

    async def installation(self, options: Any, **server_settings: Any) -> None:
        async with self.database.sessions()() as session, session.begin():
            await session.execute(delete(AppConfig))
        await self.database.add(AppConfig(agent_options=options, document={"server_settings": server_settings}))

    async def team(self, name: str, options: Any = None, mode: str = "replace") -> int:
        """A team; options None: no value, sqlalchemy.JSON.NULL: null."""
        team = Team(name=name, agent_options=options, merge_mode=mode)
        await self.database.add(team)
        assert team.id is not None
        return team.id

    async def set_team_options(self, team_id: int, options: Any) -> None:
        async with self.database.sessions().begin() as session:
            await session.execute(update(Team).where(col(Team.id) == team_id).values(agent_options=options))

    async def query(self, name: str, labels: tuple[int, ...] = (), **members: Any) -> int:
        query = Query(**{"name": name, "query": f"SELECT '{name}'", "interval_seconds": 60} | members)
        await self.database.add(query)
        assert query.id is not None
        await self.database.add(*(QueryLabel(query_id=query.id, label_id=label_id) for label_id in labels))
        return query.id

    async def remove(self, model: type[SQLModel], row_id: int) -> None:
        async with self.database.sessions().begin() as session:
            await session.execute(delete(model).where(model.id == row_id))  # type: ignore[attr-defined]


@pytest.fixture
def definitions(database) -> Definitions:
    return Definitions(database)


@pytest.fixture
def held(deps):
    """What the bucket holds of a class: its head and its config as JSON."""

    async def read(class_key: str) -> tuple[PlanHead, Any] | None:
        body = await deps.bucket.get(head_key(class_key))
        if body is None:
            return None
        head = PlanHead.model_validate_json(body)
        config = await deps.bucket.get(config_key(head.config_sha256))
        assert config is not None
        return head, json.loads(config)

    return read


@pytest.fixture
async def gateway(bus_for):
    return await bus_for("agent_gateway")


@pytest.fixture
async def admin(bus_for):
    return await bus_for("admin_api")
