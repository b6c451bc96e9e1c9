"""What stands around a measured gateway: a real NATS, stand-ins for its neighbours, keys, and its processes."""

from __future__ import annotations

import asyncio
import datetime
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx2
from flotilla_common.bus.permissions import PROVISION_USER, USERS, authorization
from flotilla_common.provision import provision_bus
from flotilla_common.settings import CommonSettings
from flotilla_stack.certificates import make_keys
from flotilla_stack.servers import Nats, RunningServer
from flotilla_stack.servers.ports import choose_port, choose_row
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from bench.bodies import config_of
from bench.load_client import ROOT, SERVER_CORE, LoadFailed, Target, core
from bench.neighbours import Neighbours

T = TypeVar("T")

READY_SECONDS = 180.0  # with a million hosts to be put into the cache
STOP_SECONDS = 15.0
METRICS_SECONDS = 60.0  # a gateway that is given 64 broad campaigns at once is busy with them for seconds
TRUSTED = "127.0.0.0/8"  # so that forwarded addresses count, as behind a balancer


@dataclass
class Process:
    """One server on the server's core; its output is in a file."""

    target: Target
    process: subprocess.Popen[bytes]
    log_file: Path

    def check(self) -> None:
        """Complain when it has ended.

        Raises:
            LoadFailed: with the end of what it said.

        """
        if self.process.poll() is not None:
            tail = "\n".join(self.log_file.read_text("utf-8", "replace").splitlines()[-20:])
            raise LoadFailed(f"{self.target.name} ended with {self.process.returncode}:\n{tail}")

    def stop(self) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class GatewayProcess(Process):
    """A gateway; its metrics are read over its health port."""

    health_port: int = 0

    def is_ready(self) -> bool:
        """Ask /readyz."""
        try:
            return httpx2.get(f"http://127.0.0.1:{self.health_port}/readyz", timeout=5.0).status_code == 200
        except httpx2.TransportError:
            return False

    def metric(self, name: str) -> float:
        """Return a metric, summed over its labels."""
        text = httpx2.get(f"http://127.0.0.1:{self.health_port}/metrics", timeout=METRICS_SECONDS).text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return sum(sample.value for sample in samples if sample.name == name)


class House:
    """A context manager: everything in it has stopped when it is left."""

    def __init__(self, directory: Path, known_hosts: int) -> None:
        self.directory = directory
        self._known_hosts = known_hosts
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        names = (*(user.name for user in USERS), PROVISION_USER)
        self._passwords = {name: secrets.token_hex(16) for name in names}
        nats = Nats(self.directory / "nats", authorization=authorization(self._passwords), durability="interval")
        self._nats = self._stack.enter_context(RunningServer(nats))
        asyncio.run(provision_bus(nats.url, self._passwords[PROVISION_USER], "dev"))
        self.keys = make_keys(self.directory / "keys", datetime.datetime.now(datetime.UTC))
        self.config = config_of()
        settings = {name: self.settings(name) for name in names}
        self.neighbours = Neighbours(settings, self.keys.signing, self.config, self._known_hosts)
        self.neighbours.start()
        self._stack.callback(self.neighbours.stop)

    def settings(self, service: str) -> CommonSettings:
        """Return how a service connects to the bus."""
        password = SecretStr(self._passwords[service])
        return CommonSettings(nats_url=self._nats.url, nats_user=service, nats_password=password, health_port=0)

    def environment(self, service: str) -> dict[str, str]:
        """Return the same as FLOTILLA_* variables."""
        return {
            "FLOTILLA_NATS_URL": self._nats.url,
            "FLOTILLA_NATS_USER": service,
            "FLOTILLA_NATS_PASSWORD": self._passwords[service],
            "FLOTILLA_HEALTH_PORT": "0",
            "PYTHONPATH": str(ROOT),
        }

    def listening(self, service: str) -> tuple[dict[str, str], int, int]:
        """Return the variables of a process that listens on both ports, and the ports."""
        plain, tls = choose_port(), choose_port()
        variables = {
            "FLOTILLA_PLAIN_PORT": str(plain),
            "FLOTILLA_TLS_PORT": str(tls),
            "FLOTILLA_TLS_CERT_FILE": str(self.keys.certificate),
            "FLOTILLA_TLS_KEY_FILE": str(self.keys.key),
            "FLOTILLA_COMMAND_KEYS_FILE": str(self.keys.command_keys),
            "FLOTILLA_TRUSTED_PROXIES": TRUSTED,
        }
        return self.environment(service) | variables, plain, tls

    def start_gateway(self, known_hosts: int, **variables: str) -> GatewayProcess:
        """Start a gateway that knows so many hosts, and wait until it is ready."""
        environment, plain, tls = self.listening("agent_gateway")
        health, *_ = choose_row(1 + int(variables.get("FLOTILLA_WORKERS", "1")))  # workers have theirs behind it
        environment |= {"FLOTILLA_HEALTH_PORT": str(health), "BENCH_KNOWN_HOSTS": str(known_hosts), **variables}
        command = [*core(SERVER_CORE), sys.executable, "-m", "bench.gateway_process"]
        process, log_file = self.launch("gateway", command, environment)
        gateway = GatewayProcess(Target("gateway", process.pid, plain, tls), process, log_file, health)
        self._stack.callback(gateway.stop)
        wait_until(gateway.is_ready, gateway, "it is ready")
        return gateway

    def launch(
        self, name: str, command: list[str], environment: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a process whose output goes to a file."""
        self._count += 1
        log_file = self.directory / f"{self._count}-{name}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return process, log_file

    def enter(self, server: AbstractContextManager[T]) -> T:
        """Start a further server; it stops when the house is left."""
        return self._stack.enter_context(server)

    def keep(self, process: Process) -> None:
        """Stop a process when the house is left."""
        self._stack.callback(process.stop)


def wait_until(check: Callable[[], bool], process: Process, what: str) -> None:
    """Wait until something is true of a process.

    Raises:
        LoadFailed: the process ended, or time is up.

    """
    deadline = time.monotonic() + READY_SECONDS
    while not check():
        process.check()
        if time.monotonic() > deadline:
            raise LoadFailed(f"{process.target.name}: not true after {READY_SECONDS:g} s: {what}")
        time.sleep(0.05)
