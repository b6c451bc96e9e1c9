"""A gateway that publishes lines, and log-shipper's work on real servers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import nats
import nats.js.errors
import pytest
from flotilla_common.blobs import Blobs
from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.provision import make
from flotilla_common.contracts.log_destinations import Destination, LogFilter, Retry
from flotilla_common.contracts.log_ledger import LedgerEntry
from flotilla_common.contracts.logs import LINES_HEADER, LOG_TYPES, LogType, Manifest, Segment, subject
from flotilla_common.db.engine import session_maker
from flotilla_common.testing import eventually
from flotilla_common.testing.database import Database
from log_shipper.app import start
from log_shipper.consumers.count_host_losses import count_host_losses
from log_shipper.consumers.count_received import count_received
from log_shipper.consumers.manage import Declared, Manager
from log_shipper.deps import Deps
from log_shipper.domain.ledger import read_ledger
from log_shipper.domain.spilling import Keeping
from log_shipper.errors import DestinationDown
from log_shipper.sinks import Batch, Limits, Refusal, Sink, Target, kind_of
from log_shipper.sinks.file import FileSink
from log_shipper.store import destinations, readers
from log_shipper.store.readers import HOST_LOSSES
from log_shipper.store.stream import state
from obstore.store import LocalStore
from sqlalchemy.ext.asyncio import create_async_engine

QUICK = Retry(first_seconds=0.05, longest_seconds=0.2)
BusFor = Callable[[str], Awaitable[Bus]]


def message_body(log_type: str, lines: Sequence[bytes], **changes: object) -> bytes:
    """What a gateway would publish."""
    body = b"".join(line + b"\n" for line in lines)
    segment = Segment(host_id=7, team_id=0, received_ms=1_763_959_000_000, lines=len(lines), bytes=len(body))
    manifest = msgspec.structs.replace(Manifest(v=1, type=log_type, segments=[segment]), **changes)
    return msgspec.json.encode(manifest) + b"\n" + body


class Gateway:
    """Publishes numbered lines as the door for hosts does."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.sent: dict[str, list[bytes]] = {"result": [], "status": []}
        self._numbers = itertools.count()

    async def send(self, log_type: LogType = "result", lines: int = 3, *, messages: int = 1) -> None:
        """Publish messages of so many new lines each."""
        for _ in range(messages):
            numbers = [next(self._numbers) for _ in range(lines)]
            await self.send_lines([b'{"number":%d}' % number for number in numbers], log_type)

    async def send_lines(self, lines: list[bytes], log_type: LogType = "result") -> None:
        """Publish these lines in one message."""
        await self.send_raw(message_body(log_type, lines), str(len(lines)), log_type)
        self.sent[log_type] += lines

    async def send_raw(self, data: bytes, lines: str | None, log_type: LogType = "result") -> None:
        """Publish any bytes."""
        headers = {"Nats-Msg-Id": uuid4().hex} | ({} if lines is None else {LINES_HEADER: lines})
        for _ in range(5):
            try:
                await self.bus.js.publish(subject(log_type, 3), data, headers=headers, timeout=2.0)
            except outage.kinds(nats.js.errors.Error):
                await asyncio.sleep(0.1)  # as the door does: again, under the same id
            else:
                return
        raise AssertionError("the stream does not take it")


class WatchedSink:
    """A sink around another, that fails where a test says and remembers what it was given."""

    def __init__(
        self, inner: Sink, *, name: str = "file", limits: Limits | None = None, log_types: Collection[str] = LOG_TYPES
    ) -> None:
        self.inner = inner
        self.spec = Destination(name=name, kind="file", filter=LogFilter(log_types=log_types), retry=QUICK)
        self.replaces = inner.replaces
        self.limits = limits or inner.limits
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None
        self.batches: list[Batch] = []
        self.failures: list[DestinationDown] = []

    async def plan(self, first_sequence: int, last_sequence: int, started_at: object) -> Target:
        return await self.inner.plan(first_sequence, last_sequence, started_at)  # type: ignore[arg-type]

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        if self.before is not None:
            self.before()
        try:
            refusals = await self.inner.deliver(batch, target)
        except DestinationDown as error:
            self.failures.append(error)
            raise
        self.batches.append(batch)
        if self.after is not None:
            self.after()
        return refusals

    async def close(self) -> None:
        await self.inner.close()


def to_file(directory: Path, **changes: object) -> WatchedSink:
    """A destination of kind file."""
    return WatchedSink(FileSink(directory), **changes)  # type: ignore[arg-type]


class Crash(Exception):
    """Stands for the death of the process at one point."""


def crash() -> None:
    raise Crash


@pytest.fixture
async def gateway(bus_for: BusFor) -> Gateway:
    return Gateway(await bus_for("agent_gateway"))


@pytest.fixture
async def make_deps(
    database: Database, bus_for: BusFor, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[Deps]]]:
    """Make the connections of a replica."""
    engines = []
    blobs = Blobs(LocalStore(str(tmp_path / "blobs"), automatic_cleanup=True, mkdir=True))

    async def make() -> Deps:
        engine = create_async_engine(database.url("log_shipper"), pool_pre_ping=True)
        engines.append(engine)
        return Deps(engine, session_maker(engine), await bus_for("log_shipper"), blobs)

    yield make
    for engine in engines:
        await engine.dispose()


@pytest.fixture
async def deps(make_deps: Callable[[], Awaitable[Deps]]) -> Deps:
    return await make_deps()


Shipping = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def shipping() -> Shipping:
    """All of log-shipper's work, for as long as the context is open."""

    @asynccontextmanager
    async def run(
        deps: Deps, *sinks: WatchedSink, replay_window: float = 0.5, replay_days: float = 0.0, undeclared: float = 0.0
    ) -> AsyncIterator[None]:
        opened = {sink.spec.name: sink for sink in sinks}
        declared = Declared({sink.spec.name: sink.spec for sink in sinks})

        def open_sink(spec: Destination) -> Sink:
            return opened.get(spec.name) or kind_of(spec.kind).open(spec.settings)

        manager = Manager(deps, declared, open_sink, undeclared=timedelta(seconds=undeclared))
        started = asyncio.Event()

        async def work() -> None:
            async with asyncio.TaskGroup() as tasks:
                await start(tasks, deps, manager, Keeping(replay_window, replay_days))
                started.set()

        task = asyncio.create_task(work())
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        try:
            if task.done():
                task.result()
            yield
        finally:
            task.cancel()
            _, unfinished = await asyncio.wait([task], timeout=10)
            assert not unfinished, "the work does not end when it is cancelled"

    return run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "shipped"


def lines_in(directory: Path, log_type: str = "result") -> list[bytes]:
    """What stands in a file."""
    path = directory / f"{log_type}.log"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


async def balanced(deps: Deps) -> dict[tuple[str, str], LedgerEntry]:
    """Read the books and insist on promise P3."""
    found = await read_ledger(deps.sessions, deps.bus)
    for entry in found.entries:
        assert entry.received == entry.filtered + entry.delivered + entry.dead_lettered + entry.pending, entry
    return {(entry.destination, entry.log_type): entry for entry in found.entries}


async def all_counted(deps: Deps) -> bool:
    """Whether the intake, and who counts hosts' losses, have all that the stream has: before, nothing is purged."""
    last = (await state(deps.bus)).last_sequence
    async with deps.sessions.begin() as session:
        return (await destinations.intake(session), (await readers.place(session, HOST_LOSSES))[0]) == (last, last)


async def count_on(deps: Deps) -> None:
    """Have all that only counts read the stream to its end, while nobody else works."""
    tasks = [asyncio.create_task(work(deps)) for work in (count_received, count_host_losses)]
    try:
        await eventually(lambda: all_counted(deps))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class ProvisionJetStream:
    """A look at stream DEAD, which no service may read."""

    def __init__(self, js: object) -> None:
        self._js = js

    async def last_dead(self) -> object:
        from nats.js.errors import NotFoundError  # noqa: PLC0415

        try:
            return await self._js.get_last_msg("DEAD", "dead.LOGS")  # type: ignore[attr-defined]
        except NotFoundError:
            return None


@pytest.fixture
async def remake_streams(provision_js: ProvisionJetStream) -> Callable[[], Awaitable[None]]:
    """Delete stream LOGS and make all streams again."""

    async def remake() -> None:
        await provision_js._js.delete_stream("LOGS")  # type: ignore[attr-defined]
        await make(provision_js._js, "dev")  # type: ignore[arg-type]

    return remake


@pytest.fixture
async def provision_js(nats_server: object) -> AsyncIterator[ProvisionJetStream]:
    where = nats_server.where  # type: ignore[attr-defined]
    client = await nats.connect(
        where.url, user="provision", password=where.passwords["provision"], inbox_prefix=b"_INBOX.provision"
    )
    yield ProvisionJetStream(client.jetstream())
    await client.close()
