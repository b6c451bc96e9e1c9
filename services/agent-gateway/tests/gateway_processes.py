"""Gateways as real processes, with one worker or several, and hosts that take them for what osqueryd would."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flotilla_common.contracts.logs import STREAM
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import RunningService, running_service
from flotilla_stack.certificates import Keys, make_keys
from flotilla_stack.servers.ports import choose_port
from osquery_simulator.http_client import ExchangeTimeoutError, HttpClient, Slot, TransportError, tls_context
from osquery_simulator.verdict import Judgement, Verdict, judge
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from .conftest import BusFor, Neighbours

READ, CONFIG, LOG = "distributed/read", "config", "log"
PREFIX = "/api/v1/osquery"
RESEND_SECONDS = 0.0025
STOCK = [("Content-Type", "application/json"), ("User-Agent", "osquery/5.17.0")]


@dataclass
class GatewayProcess:
    """A gateway that can be started again on the same ports."""

    environment: dict[str, str]
    plain_port: int
    tls_port: int
    keys: Keys
    service: RunningService | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, *, wait: bool = True) -> RunningService:
        self.service = await self.stack.enter_async_context(
            running_service("agent_gateway", environment=self.environment)
        )
        if wait:
            await self.service.ready()
        return self.service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.plain_port}{PREFIX}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}{PREFIX}"

    @property
    def workers(self) -> int:
        return int(self.environment.get("FLOTILLA_WORKERS", "1"))

    @property
    def running(self) -> RunningService:
        assert self.service is not None
        return self.service

    @property
    def health_ports(self) -> list[int]:
        """Where the processes that serve hosts have their metrics."""
        first = self.running.health_port
        return [first] if self.workers == 1 else [first + number for number in range(1, self.workers + 1)]

    @property
    def worker_pids(self) -> list[int]:
        """The processes that the parent has started and that still run."""
        return children_of(self.running.process.pid)


def children_of(pid: int) -> list[int]:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return sorted(int(word) for task in tasks for word in (task / "children").read_text().split())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def metrics_of(health_port: int) -> dict[str, float]:
    """Return the metrics behind a health port, by name, each summed over its labels."""
    async with httpx2.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{health_port}/metrics")).text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] += sample.value  # type: ignore[assignment]
    return dict(found)


Make = Callable[..., Awaitable[GatewayProcess]]


@pytest.fixture
async def make_gateway(
    command_keys_file: Path, service_environment: Callable[[str], dict[str, str]], tmp_path: Path
) -> AsyncIterator[Make]:
    """Describe a gateway process, with settings of its own; the test starts it. Each has a certificate of its own."""
    stack = AsyncExitStack()

    async def make(workers: int = 1, **settings: object) -> GatewayProcess:
        plain, tls = choose_port(), choose_port()
        keys = make_keys(tmp_path / f"keys-{tls}", datetime.datetime.now(datetime.UTC))
        environment = service_environment("agent_gateway") | {
            "FLOTILLA_PLAIN_PORT": str(plain),
            "FLOTILLA_TLS_PORT": str(tls),
            "FLOTILLA_TLS_CERT_FILE": str(keys.certificate),
            "FLOTILLA_TLS_KEY_FILE": str(keys.key),
            "FLOTILLA_COMMAND_KEYS_FILE": str(command_keys_file),
            "FLOTILLA_WORKERS": str(workers),
            **{f"FLOTILLA_{name.upper()}": str(value) for name, value in settings.items()},
        }
        return GatewayProcess(environment, plain, tls, keys, stack=stack)

    yield make
    await stack.aclose()


@pytest.fixture
def command_keys_file(neighbours: Neighbours, tmp_path: Path) -> Path:
    """The public key of the stand-in for live-query."""
    path = tmp_path / "command-keys.pem"
    path.write_bytes(neighbours.command_keys[0].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def http_client() -> HttpClient:
    """Return a client as osqueryd's: one new TLS connection for every request."""
    return HttpClient(tls_context(None, is_verified=False))


@dataclass
class Osqueryd:
    """One host. It resends once when an exchange breaks, and judges answers as osqueryd does.

    `failures` are requests that failed for osqueryd: broken twice, timed out, or answered with an error.
    """

    key: str
    base: Callable[[], str]
    client: HttpClient = field(default_factory=http_client)
    failures: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    keys_lost: int = 0
    acknowledged: list[int] = field(default_factory=list)

    async def ask(self, endpoint: str, **members: Any) -> Verdict:
        body = json.dumps({**members, "node_key": self.key}).encode()
        slot = Slot()
        try:
            verdict = await self._send(slot, endpoint, body)
        finally:
            slot.drop()
        if verdict.is_success:
            self.answered[endpoint] += 1
        else:
            self.failures.append(f"{endpoint}: {verdict.reason}")
        self.keys_lost += verdict.judgement is Judgement.NODE_INVALID
        return verdict

    async def _send(self, slot: Slot, endpoint: str, body: bytes) -> Verdict:
        reason = ""
        for _ in range(2):
            try:
                answer = await self.client.post(slot, f"{self.base()}/{endpoint}", STOCK, body)
            except TransportError as error:
                reason = str(error)
                self.resent += 1
                await asyncio.sleep(RESEND_SECONDS)
            except ExchangeTimeoutError:
                return Verdict(Judgement.FAILURE, "time-out")
            else:
                return judge(answer.body)
        return Verdict(Judgement.FAILURE, f"broken twice: {reason}")

    async def live_until(self, stop: asyncio.Event, number: Callable[[], int]) -> None:
        """Poll, take the config and post lines in turn; a batch of lines is kept until it is acknowledged."""
        batch: list[int] = []
        while not stop.is_set():
            await self.ask(READ)
            await self.ask(CONFIG)
            batch = batch or [number() for _ in range(5)]
            if (await self.ask(LOG, log_type="result", data=[{"n": one} for one in batch])).is_success:
                self.acknowledged += batch
                batch = []


def kept_connection(gateway: GatewayProcess) -> httpx2.AsyncClient:
    """Return a client with one connection, which is kept, and so one process that answers."""
    limits = httpx2.Limits(max_connections=1, keepalive_expiry=None)
    return httpx2.AsyncClient(base_url=f"https://127.0.0.1:{gateway.tls_port}", verify=False, limits=limits)


async def connections_to_each(gateway: GatewayProcess, stack: AsyncExitStack) -> list[httpx2.AsyncClient]:
    """Return a kept connection to each process of a gateway: new ones are opened until each has one."""
    found: dict[int, httpx2.AsyncClient] = {}

    async def every_process_has_one() -> bool:
        connection = await stack.enter_async_context(kept_connection(gateway))
        before = [await requests_of(port) for port in gateway.health_ports]
        await connection.head("/api/fleet/orbit/ping")
        after = [await requests_of(port) for port in gateway.health_ports]
        [place] = [place for place, count in enumerate(before) if after[place] > count]
        if found.setdefault(place, connection) is not connection:
            await connection.aclose()
        return len(found) == gateway.workers

    await eventually(every_process_has_one, timeout=60.0)
    return [found[place] for place in range(gateway.workers)]


async def requests_of(health_port: int) -> float:
    return (await metrics_of(health_port)).get("flotilla_gateway_requests_total", 0.0)


async def stored_numbers(bus_for: BusFor) -> set[int]:
    """Every number that the stream holds."""
    bus = await bus_for("log_shipper")
    state = (await bus.js.stream_info(STREAM)).state
    found: set[int] = set()
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await bus.js.get_msg(STREAM, sequence)
        found |= {json.loads(line)["n"] for line in (message.data or b"").splitlines()[1:]}
    return found
