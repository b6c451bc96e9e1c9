"""The pytest plugin: starts servers once per run, hands each test clean ones.

Servers start when the first test that needs them asks, in the controller's process when tests run in parallel.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors
import pytest
import redis
import structlog
from flotilla_stack.servers import RunningServer
from nats.js.api import StreamConfig, StreamInfo
from nats.js.client import JetStreamContext
from pydantic import SecretStr
from sqlalchemy import Engine

from flotilla_common.blobs import Blobs, BlobSettings, open_blobs
from flotilla_common.bus import connection
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.permissions import PROVISION_USER
from flotilla_common.bus.provision import make
from flotilla_common.contracts.base import Request
from flotilla_common.settings import CommonSettings
from flotilla_common.testing.database import Database, clean, clone, superuser
from flotilla_common.testing.servers import ServerRun, SharedServers, WorkerNats, start_nats
from flotilla_common.testing.spans import Spans, exporter
from flotilla_common.testing.waiting import eventually

log = structlog.get_logger()

TAKE_TURNS = {
    "tests/e2e/": "a stack, and storms",
    "services/agent-gateway/tests/test_carve_herd.py": "a stack, and storms",
    "services/agent-gateway/tests/test_enroll_storm.py": "a stack, and storms",
    "services/agent-gateway/tests/test_slow_clients.py": "a stack, and storms",
    "tools/stack/tests/test_run.py": "another stack",
}
"""Folders and files -> what they share a worker as: a running stack, or all of a small machine, which one can have."""
VARIABLE = "FLOTILLA_TEST_SHARED_SERVERS"
PATIENCE_SECONDS = 20.0
IMPATIENT = "impatient"


def _log_plain_tracebacks() -> None:
    """Keep structlog from drawing what an exception's frames held: that takes seconds, in which no loop turns."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


def pytest_configure(config: pytest.Config) -> None:
    """In the controller of a parallel run: start the servers before the workers, who inherit the environment."""
    _log_plain_tracebacks()
    config.addinivalue_line("markers", f"{IMPATIENT}: gives up requests on the bus as early as services do")
    parallel = getattr(config.option, "numprocesses", None) or getattr(config.option, "dist", "no") != "no"
    if parallel and not hasattr(config, "workerinput"):
        run = ServerRun()
        os.environ[VARIABLE] = run.start().to_json()
        config.add_cleanup(lambda: os.environ.__delitem__(VARIABLE))
        config.add_cleanup(run.stop)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep tests that share a stack or the machine in one worker, and begin with them, since they take longest.

    pytest-xdist 3.8 has marks for this, but cannot read them under pytest 9.2.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling  # noqa: PLC0415 - only where tests run in parallel

    if config.getvalue("dist") != "loadgroup":
        return None
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = scope_of
    return scheduling


def scope_of(nodeid: str) -> str:
    """Return what a test shares a worker as, or only itself."""
    return next((scope for path, scope in TAKE_TURNS.items() if nodeid.startswith(path)), nodeid)


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[SharedServers]:
    """Where Postgres, Valkey and S3 of this run are."""
    if VARIABLE in os.environ:
        yield SharedServers.from_json(os.environ[VARIABLE])
        return
    run = ServerRun()
    shared = run.start()
    try:
        yield shared
    finally:
        run.stop()


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0, 1, ... in a parallel run; 0 alone."""
    worker: str = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    return int(worker.removeprefix("gw"))


@pytest.fixture(scope="session")
def worker_database(shared_servers: SharedServers, worker_number: int) -> str:
    """The name of this worker's database."""
    name = f"flotilla_test_{worker_number}"
    clone(shared_servers, name)
    return name


@pytest.fixture(scope="session")
def worker_superuser(shared_servers: SharedServers, worker_database: str) -> Iterator[Engine]:
    """The superuser's connections to this worker's database."""
    with superuser(shared_servers, worker_database) as engine:
        yield engine


@pytest.fixture
def database(shared_servers: SharedServers, worker_database: str, worker_superuser: Engine) -> Database:
    """A clean, migrated database."""
    clean(worker_superuser)
    return Database(shared_servers, worker_database, worker_superuser)


@dataclass(frozen=True)
class NatsOfWorker:
    """This worker's NATS and, when it is a child process, its handle (to stop and start it in fault tests).

    `streams`: how each stream is configured when it is new, those of buckets and object stores too.
    """

    where: WorkerNats
    running: RunningServer[Any] | None
    streams: dict[str, StreamConfig] = field(default_factory=dict)


@pytest.fixture(scope="session")
def worker_nats() -> Iterator[NatsOfWorker]:
    """This worker's NATS server."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flotilla-nats-")))
        where, running = start_nats(stack, directory)
        yield NatsOfWorker(where, running)


async def make_streams_anew(js: JetStreamContext, streams: dict[str, StreamConfig]) -> None:
    """Have all streams as if they had just been made: delete and make those that somebody used or changed.

    A busy server may fail to remove the folder of a stream that it still writes to.
    """

    async def made() -> bool:
        try:
            found = {str(info.config.name): info for info in await js.streams_info()}
            if not streams:
                await make(js, "dev")
                streams.update({str(info.config.name): info.config for info in await js.streams_info()})
                return True
            used = [name for name, info in found.items() if _is_used(info) or info.config != streams.get(name)]
            for name in used:
                await js.delete_stream(name)
            for name in [name for name in streams if name in used or name not in found]:
                await js.add_stream(streams[name])
        except nats.js.errors.ServerError as error:
            log.warning("streams are made again", error=str(error))
            return False
        return True

    await eventually(made, timeout=30.0)


def _is_used(info: StreamInfo) -> bool:
    return bool(info.state.last_seq or info.state.consumer_count)


@pytest.fixture
async def nats_server(worker_nats: NatsOfWorker) -> NatsOfWorker:
    """NATS with freshly made streams and buckets, all empty."""
    where = worker_nats.where
    client = await nats.connect(
        where.url,
        user=PROVISION_USER,
        password=where.passwords[PROVISION_USER],
        inbox_prefix=f"_INBOX.{PROVISION_USER}".encode(),
    )
    try:
        await make_streams_anew(client.jetstream(), worker_nats.streams)
    finally:
        await client.close()
    return worker_nats


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests and the answers of JetStream take their time on a busy machine; not in tests marked `impatient`.

    What custody and the gateway have time for is theirs as ever.
    """
    if request.node.get_closest_marker(IMPATIENT):
        return
    for one in _all_requests(Request):
        if one.timeout_seconds < PATIENCE_SECONDS:
            monkeypatch.setattr(one, "timeout_seconds", PATIENCE_SECONDS)
    monkeypatch.setattr(connection, "PUBLISH_TIMEOUT_SECONDS", PATIENCE_SECONDS)


def _all_requests(base: type[Request[Any]]) -> Iterator[type[Request[Any]]]:
    yield base
    for one in base.__subclasses__():
        yield from _all_requests(one)


SettingsFor = Callable[[str], CommonSettings]


@pytest.fixture
def bus_settings_for(nats_server: NatsOfWorker) -> SettingsFor:
    """Return the settings with which a service connects to the bus as its own user."""

    def settings(service: str) -> CommonSettings:
        where = nats_server.where
        return CommonSettings(
            nats_url=where.url, nats_user=service, nats_password=SecretStr(where.passwords[service]), health_port=0
        )

    return settings


@pytest.fixture
async def bus_for(bus_settings_for: SettingsFor) -> AsyncIterator[Callable[[str], Awaitable[Bus]]]:
    """Connect to the bus as a service's own, restricted user; closed after the test."""
    opened: list[Bus] = []

    async def open_bus(service: str) -> Bus:
        bus = await connect(bus_settings_for(service))
        opened.append(bus)
        return bus

    yield open_bus
    await asyncio.gather(*(bus.close() for bus in opened))


@pytest.fixture
def redis_url(shared_servers: SharedServers, worker_number: int) -> str:
    """Return the URL of this worker's own Redis database, emptied."""
    shared = shared_servers
    url = f"redis://:{shared.valkey_password}@{shared.valkey_host}:{shared.valkey_port}/{worker_number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@dataclass(frozen=True)
class S3Place:
    """A fresh bucket."""

    endpoint: str
    bucket: str
    key: str
    secret: str
    region: str = "us-east-1"


@pytest.fixture
def s3(shared_servers: SharedServers) -> S3Place:
    """Return a fresh bucket at moto's S3. It accepts any secret: nothing about authentication is tested there."""
    import httpx2  # noqa: PLC0415 - only these tests need it

    shared = shared_servers
    place = S3Place(shared.s3_endpoint, f"test-{secrets.token_hex(6)}", shared.s3_key, shared.s3_secret)
    httpx2.put(f"{place.endpoint}/{place.bucket}").raise_for_status()
    return place


def blob_variables(s3: S3Place) -> dict[str, str]:
    """Return the blob store's settings for a bucket."""
    return {
        "blob_url": f"s3://{s3.bucket}/blobs",
        "blob_endpoint": s3.endpoint,
        "blob_region": s3.region,
        "blob_access_key": s3.key,
        "blob_secret_key": s3.secret,
    }


@pytest.fixture
def blobs(s3: S3Place) -> Blobs:
    """Return a fresh blob store, the same as a service's process gets."""
    nobody = {"nats_url": "-", "nats_user": "-", "nats_password": "-", "health_port": "0"}
    return open_blobs(BlobSettings.model_validate(nobody | blob_variables(s3)))


@pytest.fixture(scope="session")
def secrets_key() -> bytes:
    """Return the key of enroll secrets at rest."""
    return secrets.token_bytes(32)


@pytest.fixture
def spans() -> Spans:
    """Return the spans that end from now on in this process."""
    exporter().clear()
    return Spans(exporter())


@pytest.fixture
def secrets_key_file(secrets_key: bytes, tmp_path: Path) -> Path:
    """Return the same key as the file that services read."""
    path = tmp_path / "secrets.key"
    path.write_text(base64.b64encode(secrets_key).decode(), encoding="ascii")
    return path


@pytest.fixture
def service_environment(
    database: Database, nats_server: NatsOfWorker, redis_url: str, s3: S3Place, secrets_key_file: Path, tmp_path: Path
) -> Callable[[str], dict[str, str]]:
    """Return the FLOTILLA_* variables with which a service's process runs against the test's servers.

    Ports are left to the caller, except FLOTILLA_HEALTH_PORT, which is 0 (any free one).
    """

    def environment(service: str) -> dict[str, str]:
        where = nats_server.where
        common = {
            "FLOTILLA_NATS_URL": where.url,
            "FLOTILLA_NATS_USER": service,
            "FLOTILLA_NATS_PASSWORD": where.passwords[service],
            "FLOTILLA_HEALTH_PORT": "0",
            "FLOTILLA_SECRETS_KEY_FILE": str(secrets_key_file),
            "FLOTILLA_FILE_DIRECTORY": str(tmp_path / "logs"),
            "FLOTILLA_S3_ENDPOINT": s3.endpoint,
            "FLOTILLA_S3_BUCKET": s3.bucket,
            "FLOTILLA_S3_REGION": s3.region,
            "FLOTILLA_S3_ACCESS_KEY": s3.key,
            "FLOTILLA_S3_SECRET_KEY": s3.secret,
        }
        common |= {f"FLOTILLA_{name.upper()}": value for name, value in blob_variables(s3).items()}
        if service == "agent_gateway":
            return common
        return common | {"FLOTILLA_DATABASE_URL": database.url(service), "FLOTILLA_REDIS_URL": redis_url}

    return environment
