"""live-query as it runs: its own role, its own NATS user, bucket CAMPAIGNS, Redis; and who stands around it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import nats.js.errors
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flotilla_common.blobs import Blobs
from flotilla_common.bus import outage
from flotilla_common.bus.buckets import Bucket, open_bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.objects import open_objects
from flotilla_common.clock import utc_now
from flotilla_common.contracts.campaigns import (
    BUCKET,
    STORE,
    AnswerBatch,
    CampaignAnswer,
    CampaignCommand,
    CampaignStartedV1,
    StartCampaignV1,
    answers_subject,
    done_key,
    split_command,
)
from flotilla_common.contracts.definitions import AppConfigChangedV1
from flotilla_common.contracts.hosts import HostDeletedV1, HostRecord
from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.contracts.shards import shard_of
from flotilla_common.db.engine import session_maker
from flotilla_common.db.models.admin_api import AppConfig, Label
from flotilla_common.db.models.inventory import Host, HostSeen, LabelMembership
from flotilla_common.db.models.live_query import Campaign, LedgerRow
from flotilla_common.testing.database import Database
from live_query.app import listen
from live_query.deps import Deps
from live_query.domain.answers import Limits
from live_query.domain.archive import ArchivePolicy
from live_query.domain.carves import CarvePolicy
from live_query.store import rows as rows_store
from live_query.store.rows import ResultRows
from pyroaring import BitMap
from redis.asyncio import Redis
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col

from .carving import Carving

BusFor = Callable[[str], Awaitable[Bus]]
STATES = ("pending", "answered", "failed", "denylisted", "expired", "cancelled", "unreachable")
LIMITS = Limits(rows=100, rows_bytes=64 * 1024)
CAMPAIGN_BYTES = 1024 * 1024
CARVE_POLICY = CarvePolicy(host_bytes=10_000, host_carves=5, total_bytes=25_000, keep=timedelta(hours=24))
ARCHIVE_POLICY = ArchivePolicy(after=timedelta(days=365))  # most tests look into Redis when the campaign is over


@dataclass
class Clock:
    """A clock that goes on by itself and can be moved besides."""

    offset: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.offset

    def move(self, **by: float) -> None:
        self.offset += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def signing_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
async def make_deps(
    database: Database,
    bus_for: BusFor,
    redis_url: str,
    signing_key: Ed25519PrivateKey,
    clock: Clock,
    blobs: Blobs,
) -> AsyncIterator[Callable[..., Awaitable[Deps]]]:
    """Make the connections of a replica."""
    engines, kept = [], []

    async def make(redis: str = redis_url, campaign_bytes: int = CAMPAIGN_BYTES) -> Deps:
        engine = create_async_engine(database.url("live_query"), pool_pre_ping=True)
        engines.append(engine)
        bus = await bus_for("live_query")
        kept.append(ResultRows(rows_store.connect(redis), campaign_bytes))
        return Deps(
            sessions=session_maker(engine),
            bus=bus,
            bucket=await open_bucket(bus, BUCKET),
            objects=await open_objects(bus, STORE),
            rows=kept[-1],
            signing_key=signing_key,
            limits=LIMITS,
            blobs=blobs,
            carve_policy=CARVE_POLICY,
            archive_policy=ARCHIVE_POLICY,
            clock=clock,
        )

    yield make
    for engine in engines:
        await engine.dispose()
    for rows in kept:
        await rows.close()


@pytest.fixture
async def deps(make_deps: Callable[..., Awaitable[Deps]]) -> Deps:
    return await make_deps()


Running = Callable[[Deps], AbstractAsyncContextManager[None]]


@pytest.fixture
def running(database: Database) -> Running:
    """All that a replica does, for as long as the context is open."""

    @asynccontextmanager
    async def run(deps: Deps) -> AsyncIterator[None]:
        started = asyncio.Event()

        async def work() -> None:
            async with asyncio.TaskGroup() as tasks:
                await listen(tasks, deps, database.url("live_query"))
                started.set()

        task = asyncio.create_task(work())
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        try:
            if task.done():
                task.result()
            yield
        finally:
            waiting.cancel()
            task.cancel()
            _, unfinished = await asyncio.wait([task], timeout=15)
            assert not unfinished, "the work does not end when it is cancelled"

    return run


@dataclass(frozen=True)
class Fleet:
    """What inventory and admin-api would have written."""

    database: Database
    numbers: itertools.count[int]

    async def hosts(self, number: int, team_id: int | None = None, *labels: int, **members: object) -> list[int]:
        """Enroll hosts of a team, seen just now; they are in these labels and in All Hosts (1)."""
        rows = [
            Host(
                revision=next(self.numbers),
                host_identifier=f"host-{next(self.numbers)}",
                team_id=team_id,
                last_enrolled_at=utc_now(),
                **members,
            )
            for _ in range(number)
        ]
        await self.database.add(*rows)
        ids = [row.id for row in rows if row.id is not None]
        await self.database.add(*(HostSeen(host_id=host_id, seen_at=utc_now()) for host_id in ids))
        await self.label(1, *ids)
        for label_id in labels:
            await self.label(label_id, *ids)
        return ids

    async def last_seen(self, host_id: int, seen_at: datetime) -> None:
        async with self.database.sessions().begin() as session:
            await session.execute(update(HostSeen).where(col(HostSeen.host_id) == host_id).values(seen_at=seen_at))

    async def move(self, host_id: int, team_id: int | None) -> None:
        async with self.database.sessions().begin() as session:
            await session.execute(update(Host).where(col(Host.id) == host_id).values(team_id=team_id))

    async def label(self, label_id: int, *host_ids: int) -> None:
        await self.database.add(*(LabelMembership(label_id=label_id, host_id=host_id) for host_id in host_ids))

    async def regular_label(self, name: str) -> int:
        label = Label(name=name, label_type="regular")
        await self.database.add(label)
        assert label.id is not None
        return label.id

    async def remove(self, host_id: int) -> None:
        """Delete a host without saying so."""
        async with self.database.sessions().begin() as session:
            await session.execute(delete(Host).where(col(Host.id) == host_id))


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return Fleet(database, itertools.count(1))


def answer_to(campaign_id: int, rows: list[dict[str, str]] | None = None, **members: object) -> CampaignAnswer:
    """What a host says."""
    answer = CampaignAnswer(
        campaign_id=campaign_id,
        attempt=1,
        status=0,
        message="",
        rows=msgspec.Raw(msgspec.json.encode([{"n": "1"}] if rows is None else rows)),
        stats=msgspec.Raw(b'{"wall_time_ms":1,"user_time":2,"system_time":3,"memory":4}'),
    )
    return msgspec.structs.replace(answer, **members)


class Gateway:
    """Takes hosts' answers into custody as the door for hosts does."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def answer(self, host_id: int, *answers: CampaignAnswer) -> int:
        """Publish one write; return its place in the stream."""
        return await self.publish(host_id, msgspec.json.encode([self.batch(host_id, *answers)]))

    def batch(self, host_id: int, *answers: CampaignAnswer, trace_parent: str = "") -> AnswerBatch:
        return AnswerBatch(1, host_id, 0, int(utc_now().timestamp() * 1000), list(answers), trace_parent)

    async def publish(self, host_id: int, body: bytes) -> int:
        headers = {"Nats-Msg-Id": uuid4().hex}
        for _ in range(10):
            try:
                subject = answers_subject(shard_of(host_id))
                return (await self.bus.js.publish(subject, body, headers=headers, timeout=2.0)).seq
            except outage.kinds(nats.js.errors.Error):
                await asyncio.sleep(0.1)  # as the door does: again, under the same id
        raise AssertionError("the stream does not take it")


@pytest.fixture
async def gateway(bus_for: BusFor) -> Gateway:
    return Gateway(await bus_for("agent_gateway"))


@pytest.fixture
async def admin(bus_for: BusFor) -> Bus:
    return await bus_for("admin_api")


class Inventory:
    """Says that hosts are gone."""

    def __init__(self, bus: Bus, fleet: Fleet) -> None:
        self.bus = bus
        self.fleet = fleet

    async def delete(self, host_id: int) -> None:
        await self.fleet.remove(host_id)
        await self.bus.publish(HostDeletedV1(host=HostRecord(host_id=host_id, revision=1, node_key_hash=None)))


@pytest.fixture
async def inventory(bus_for: BusFor, fleet: Fleet) -> Inventory:
    return Inventory(await bus_for("inventory"), fleet)


@pytest.fixture
def start(admin: Bus) -> Callable[..., Awaitable[CampaignStartedV1]]:
    """Ask for a campaign as admin-api does; one with a deadline unless the kind is given."""

    async def ask(**members: object) -> CampaignStartedV1:
        deadline = {} if "kind" in members else {"kind": "durable", "deadline": utc_now() + timedelta(hours=1)}
        given = {"sql": "SELECT 1", "query_id": 7, "user_id": 3} | deadline | members
        return await admin.request(StartCampaignV1(**given))  # type: ignore[arg-type]

    return ask


@pytest.fixture
def disable(database: Database, admin: Bus) -> Callable[..., Awaitable[None]]:
    """Write what admin-api would, and say so."""

    async def write(disabled: object, *, quietly: bool = False) -> None:
        async with database.sessions("admin_api").begin() as session:
            config = await session.get(AppConfig, 1) or AppConfig(id=1)
            config.document = {"server_settings": {"live_query_disabled": disabled}}
            session.add(config)
        if not quietly:
            await admin.publish(AppConfigChangedV1())

    return write


@dataclass(frozen=True)
class Books:
    """Looks at the ledger (which must balance whenever it is looked at) and at what viewers see."""

    database: Database
    redis: Redis

    async def campaign(self, campaign_id: int) -> Campaign:
        [campaign] = [row for row in await self.database.rows(Campaign) if row.id == campaign_id]
        return campaign

    async def ledger(self, campaign_id: int) -> dict[int, LedgerRow]:
        rows = [row for row in await self.database.rows(LedgerRow) if row.campaign_id == campaign_id]
        campaign = await self.campaign(campaign_id)
        states = Counter(row.state for row in rows)
        assert campaign.target_count == sum(states[state] for state in STATES) == len(rows), states
        return {row.host_id: row for row in rows}

    async def states(self, campaign_id: int) -> dict[int, str]:
        return {host_id: row.state for host_id, row in (await self.ledger(campaign_id)).items()}

    async def count(self, campaign_id: int) -> Counter[str]:
        return Counter((await self.states(campaign_id)).values())

    async def is_complete(self, campaign_id: int) -> bool:
        campaign = await self.campaign(campaign_id)
        return campaign.status == "complete" and campaign.cleared_at is not None

    async def entries(self, campaign_id: int) -> list[dict[str, str]]:
        """All that a viewer reads from the beginning."""
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in await self.redis.xrange(campaign_rows(campaign_id))
        ]

    async def hosts_seen(self, campaign_id: int) -> list[int]:
        return [int(entry["host"]) for entry in await self.entries(campaign_id) if "host" in entry]


@pytest.fixture
async def books(database: Database, redis_url: str) -> AsyncIterator[Books]:
    async with Redis.from_url(redis_url) as client:
        yield Books(database, client)


@pytest.fixture
def environment(
    service_environment: Callable[[str], dict[str, str]], signing_key: Ed25519PrivateKey, tmp_path: Path
) -> dict[str, str]:
    """The FLOTILLA_* variables of a live-query process."""
    path = tmp_path / "signing.key"
    path.write_bytes(signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {**service_environment("live_query"), "FLOTILLA_SIGNING_KEY_FILE": str(path)}


def verified(value: bytes, key: Ed25519PublicKey) -> CampaignCommand:
    """What a gateway with this public key reads from a bucket value; InvalidSignature when another key signed it."""
    signature, payload = split_command(value)
    key.verify(signature, payload)
    return msgspec.json.decode(payload, type=CampaignCommand)


async def done(bucket: Bucket, campaign_id: int) -> set[int]:
    """The hosts that gateways know to be settled."""
    value = await bucket.get(done_key(campaign_id))
    return set() if value is None else set(BitMap.deserialize(value))


@pytest.fixture
async def carving(bus_for: BusFor, database: Database) -> Carving:
    return Carving(await bus_for("agent_gateway"), database)


@pytest.fixture
def with_carves() -> Callable[..., Deps]:
    """Change what is kept of carves."""
    return lambda deps, **policy: replace(deps, carve_policy=replace(deps.carve_policy, **policy))


def with_limits(deps: Deps, **limits: int) -> Deps:
    return replace(deps, limits=replace(deps.limits, **limits))
