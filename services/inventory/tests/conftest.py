"""Inventory as it runs: its own role, its own NATS user, everything that hears started."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from flotilla_common.bus.connection import Bus
from flotilla_common.clock import utc_now
from flotilla_common.contracts.hosts import EnrolledV1, EnrollHostV1
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.db.models.admin_api import EnrollSecret, Label, Query, QueryLabel, Team
from flotilla_common.db.models.inventory import Outbox
from flotilla_common.testing.database import Database
from inventory.app import listen
from inventory.deps import Deps

SECRET = "secret-of-no-team"


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
async def deps(database, bus_for, secrets_key, clock) -> Deps:
    return Deps(
        sessions=database.sessions("inventory"), bus=await bus_for("inventory"), secrets_key=secrets_key, clock=clock
    )


@pytest.fixture
def listening():
    """Everything that hears, for as long as the context is open."""

    @contextlib.asynccontextmanager
    async def run(deps: Deps, **settings: float) -> AsyncIterator[None]:
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as tasks:
                await listen(tasks, deps, seen_flush_seconds=0.05, **settings)
                yield
                for task in asyncio.all_tasks():
                    if task in tasks._tasks:
                        task.cancel()

    return run


@pytest.fixture
async def running(deps, listening) -> AsyncIterator[Deps]:
    """Everything that hears, started; ended after the test."""
    async with listening(deps):
        yield deps


@dataclass(frozen=True)
class Definitions:
    """What admin-api would have written."""

    database: Database
    key: bytes

    async def secret(self, text: str, team_id: int | None = None, **limits: Any) -> None:
        limits.setdefault("allowed_networks", [])
        lookup = enroll_secret_lookup(self.key, text)
        row = EnrollSecret(team_id=team_id, lookup_hash=lookup, ciphertext=b"-", **limits)
        await self.database.add(row)

    async def team(self, name: str) -> int:
        team = Team(name=name)
        await self.database.add(team)
        return id_of(team)

    async def label(self, name: str, membership: str = "manual") -> int:
        label = Label(name=name, label_membership_type=membership)
        await self.database.add(label)
        return id_of(label)

    async def scoped_query(self, label_id: int, interval: int = 60) -> int:
        query = Query(name=f"scoped by {label_id}, {interval} s", query="SELECT 1", interval_seconds=interval)
        await self.database.add(query)
        await self.database.add(QueryLabel(query_id=id_of(query), label_id=label_id))
        return id_of(query)


def id_of(row: Any) -> int:
    assert row.id is not None
    return int(row.id)


@pytest.fixture
async def definitions(database, secrets_key) -> Definitions:
    made = Definitions(database, secrets_key)
    await made.secret(SECRET)
    return made


Enroll = Callable[..., Awaitable[EnrolledV1]]


@pytest.fixture
def enroll(deps, definitions) -> Enroll:
    """Enroll a host by calling the handler, without the bus."""
    from inventory.consumers import answer_enroll_host  # noqa: PLC0415

    async def call(identifier: str, secret: str = SECRET, **members: Any) -> EnrolledV1:
        request = EnrollHostV1(enroll_secret=secret, host_identifier=identifier, **members)
        return await answer_enroll_host.answer(request, deps)

    return call


@pytest.fixture
def events(database):
    """The bodies of the outbox's events, oldest first, with their subjects."""

    async def read(subject: str = "") -> list[dict[str, Any]]:
        rows = sorted(await database.rows(Outbox), key=lambda row: row.id or 0)
        return [json.loads(row.body) | {"subject": row.subject} for row in rows if row.subject.startswith(subject)]

    return read


@pytest.fixture
async def gateway(bus_for) -> Bus:
    return await bus_for("agent_gateway")


@pytest.fixture
async def admin(bus_for) -> Bus:
    return await bus_for("admin_api")
