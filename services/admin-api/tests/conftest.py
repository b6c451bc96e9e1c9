"""The application on real servers, reached as a client reaches it; members with every role."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from admin_api.app import build_app
from admin_api.deps import Deps
from admin_api.domain import sessions as logins
from admin_api.domain.passwords import Passwords
from admin_api.domain.sql_reader import SqlReader
from admin_api.routes.body_gate import BodyGate, BodyLimits
from admin_api.settings import Settings
from argon2 import PasswordHasher
from fastapi import FastAPI
from flotilla_common.blobs import open_blobs
from flotilla_common.bus.connection import Bus
from flotilla_common.db import engine as db
from flotilla_common.db.models.admin_api import Activity, Outbox, Team, User, UserTeam
from flotilla_common.testing.database import Database
from flotilla_common.testing.waiting import eventually
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

PREFIX = "/api/latest/fleet"
PASSWORD = "correct-Horse-7"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)

Client = httpx2.AsyncClient


@dataclass(frozen=True)
class Member:
    """A user who is logged in."""

    user_id: int
    email: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What the user's requests carry."""
        return {"Authorization": f"Bearer {self.token}"}


class Clock:
    """The time, which tests may move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(database: Database, redis_url: str, secrets_key: bytes, tmp_path: Path) -> Settings:
    return Settings(
        nats_url="nats://unused",
        nats_user="admin_api",
        nats_password=SecretStr("unused"),
        health_port=0,
        database_url=SecretStr(database.url("admin_api")),
        redis_url=SecretStr(redis_url),
        listen_port=0,
        secrets_key=SecretStr(base64.b64encode(secrets_key).decode()),
        trusted_proxies="127.0.0.0/8",
        failed_login_seconds=0,
        blob_url=tmp_path.as_uri(),
    )


@pytest.fixture(scope="session")
def sql_reader() -> Iterator[SqlReader]:
    """One for all tests: its processes take a moment to start, and what they say depends on the SQL alone."""
    reader = SqlReader()
    yield reader
    reader.close()


@pytest.fixture
async def deps(
    database: Database,
    bus_for: Callable[[str], Awaitable[Bus]],
    settings: Settings,
    secrets_key: bytes,
    clock: Clock,
    sql_reader: SqlReader,
) -> AsyncIterator[Deps]:
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    passwords = Passwords(CHEAP)
    engine = db.create_engine(settings)
    yield Deps(
        sessions=db.session_maker(engine),
        bus=await bus_for("admin_api"),
        redis=redis,
        clock=clock,
        settings=settings,
        secrets_key=secrets_key,
        passwords=passwords,
        blobs=open_blobs(settings),
        sql_reader=sql_reader,
    )
    passwords.close()
    await redis.aclose()
    await engine.dispose()


@pytest.fixture(scope="session")
def worker_app() -> FastAPI:
    """Build the application once: its routes are prepared at their first use, which takes longer than most tests."""
    app = build_app()
    names = ("body_limit_bytes", "bodies_limit_bytes", "body_seconds")
    app.add_middleware(BodyGate, limits=BodyLimits(*(Settings.model_fields[name].default for name in names)))
    return app


@pytest.fixture
def app(worker_app: FastAPI, deps: Deps) -> FastAPI:
    worker_app.state.deps = deps
    return worker_app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[Client]:
    """A client without a token."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with Client(transport=transport, base_url="http://admin.test") as opened:
        yield opened


@pytest.fixture
async def admin_token(client: Client) -> str:
    """Set up; the token of the first admin, whose id is 1."""
    answer = await client.post(
        "/api/v1/setup",
        json={
            "admin": {"name": "Ada Ops", "email": "ada@acme.test", "password": PASSWORD},
            "org_info": {"org_name": "Acme"},
            "server_url": "https://fleet.acme.test",
        },
    )
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


@pytest.fixture
def admin(admin_token: str) -> Member:
    return Member(1, "ada@acme.test", admin_token)


@pytest.fixture
def make_team(database: Database, admin_token: str) -> Callable[..., Awaitable[int]]:
    """`await make_team("Servers")` -> its id."""

    async def make(name: str) -> int:
        team = Team(name=name, document={}, agent_options={})
        await database.add(team)
        assert team.id is not None
        return team.id

    return make


MakeUser = Callable[..., Awaitable[Member]]


@pytest.fixture
def make_user(database: Database, deps: Deps, admin_token: str) -> MakeUser:
    """`await make_user("observer", team_id)` -> a logged-in user with that role there (globally without a team)."""
    made = 0

    async def make(role: str | None, team: int | None = None, *, api_only: bool = False) -> Member:
        nonlocal made
        made += 1
        email = f"user{made}@acme.test"
        stored = await deps.passwords.hash(PASSWORD)
        user = User(
            name=f"User {made}",
            email=email,
            password_hash=stored,
            settings={},
            global_role=role if team is None else None,
            api_only=api_only,
        )
        await database.add(user)
        assert user.id is not None
        if team is not None:
            await database.add(UserTeam(user_id=user.id, team_id=team, role=role))
        async with deps.sessions.begin() as session:
            token = await logins.open_session(session, user, now=deps.clock())
        return Member(user.id, email, token)

    return make


Ask = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture
def ask(client: Client) -> Ask:
    """`await ask(admin, "PATCH /config", {"org_info": {}}, dry_run="true")` -> the answer; member None: no token."""

    async def send(member: Member | None, what: str, body: object = None, **parameters: str) -> httpx2.Response:
        method, path = what.split(" ", 1)
        return await client.request(
            method,
            PREFIX + path,
            headers={} if member is None else member.headers,
            params=parameters,
            content=None if body is None else json.dumps(body),
        )

    return send


@pytest.fixture
def blocked(database: Database) -> Callable[[], Awaitable[None]]:
    """`await blocked()`: until a request waits for a lock that the test's own transaction holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def is_waiting() -> bool:
        async with database.sessions("admin_api").begin() as session:
            return bool(await session.scalar(text(waiting)))

    async def wait() -> None:
        await eventually(is_waiting)

    return wait


@dataclass
class News:
    """What a change left behind since the last look: `await news.events()`, `await news.activities()`."""

    database: Database
    seen: dict[str, int]

    async def events(self) -> list[tuple[str, dict[str, object]]]:
        """Return (name, fields) of the events in the outbox, such as ("team_changed", {"team_id": 1, ...})."""
        rows = await self._new(Outbox)
        bodies = [(row.subject, json.loads(row.body)) for row in rows]
        own = {"event_id", "occurred_at"}
        return [
            (subject.split(".")[1], {name: value for name, value in body.items() if name not in own})
            for subject, body in bodies
        ]

    async def activities(self) -> list[tuple[str, dict[str, object] | None]]:
        """Return (type, details) of the activities."""
        return [(row.type, row.details) for row in await self._new(Activity)]

    async def _new(self, model):
        rows = sorted(await self.database.rows(model), key=lambda row: row.id)
        fresh = [row for row in rows if row.id > self.seen.get(model.__name__, 0)]
        self.seen[model.__name__] = rows[-1].id if rows else 0
        return fresh


@pytest.fixture
async def news(database: Database, admin: Member) -> News:
    """Events and activities from now on; setup's are forgotten."""
    found = News(database, {})
    await found.events()
    await found.activities()
    return found
