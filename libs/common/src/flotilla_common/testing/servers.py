"""The servers of a test run: Postgres, Valkey and S3 once per run, NATS once per worker.

With FLOTILLA_TEST_SERVERS=containers they come from Docker images through testcontainers instead of wheels.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from flotilla_stack.servers import S3, Nats, Postgres, RunningServer, Valkey

from flotilla_common.bus.permissions import PROVISION_USER, USERS, authorization
from flotilla_common.db.migrate import READS
from flotilla_common.provision import provision_database

TEMPLATE = "flotilla_template"


@dataclass(frozen=True)
class SharedServers:
    """Where the servers of the whole run are; handed from the controller to its workers as JSON."""

    postgres_host: str
    postgres_port: int
    postgres_password: str
    postgres_passwords: dict[str, str]
    valkey_host: str
    valkey_port: int
    valkey_password: str
    s3_endpoint: str
    s3_key: str
    s3_secret: str

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> SharedServers:
        """Read what `to_json` wrote."""
        return SharedServers(**json.loads(text))

    def owner_url(self, database: str) -> str:
        """Return the superuser's URL of a database."""
        return (
            f"postgresql+psycopg://flotilla_owner:{self.postgres_password}"
            f"@{self.postgres_host}:{self.postgres_port}/{database}"
        )

    def service_url(self, service: str, database: str) -> str:
        """Return the URL of a database as a service's own role."""
        password = self.postgres_passwords[service]
        return (
            f"postgresql+psycopg://flotilla_{service}:{password}@{self.postgres_host}:{self.postgres_port}/{database}"
        )


class ServerRun:
    """The shared servers while they run. Start once per run, stop at its end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="flotilla-test-"))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)

    def start(self) -> SharedServers:
        """Start the servers and make the migrated template database."""
        try:
            shared = self._from_images() if containers_wanted() else self._from_wheels()
            provision_database(shared.owner_url(TEMPLATE), shared.postgres_passwords)
        except BaseException:
            self.stop()
            raise
        return shared

    def stop(self) -> None:
        """Stop the servers and remove their data."""
        self._stack.close()

    def _from_wheels(self) -> SharedServers:
        password, redis_password = secrets.token_hex(16), secrets.token_hex(16)
        postgres = self._stack.enter_context(
            RunningServer(Postgres(self.directory / "postgres", password=password, durable=False))
        )
        valkey = self._stack.enter_context(
            RunningServer(Valkey(self.directory / "valkey", password=redis_password, durable=False))
        )
        s3 = self._stack.enter_context(RunningServer(S3(self.directory / "s3", durable=False)))
        postgres.create_database(TEMPLATE)
        return SharedServers(
            "127.0.0.1",
            postgres.port,
            password,
            _service_passwords(),
            "127.0.0.1",
            valkey.port,
            redis_password,
            s3.endpoint,
            "test",
            "test",
        )

    def _from_images(self) -> SharedServers:
        from flotilla_common.testing.containers import start_shared  # noqa: PLC0415 - needs Docker

        return start_shared(self._stack, TEMPLATE, _service_passwords())


@dataclass(frozen=True)
class WorkerNats:
    """One worker's NATS: every service has its user, `provision` may do everything to streams."""

    url: str
    passwords: dict[str, str]


def start_nats(stack: ExitStack, directory: Path) -> tuple[WorkerNats, RunningServer[Nats] | None]:
    """Start a NATS server for one worker; the running server is None when it is a container."""
    passwords = {name: secrets.token_hex(16) for name in (*(user.name for user in USERS), PROVISION_USER)}
    if containers_wanted():
        from flotilla_common.testing.containers import start_nats_container  # noqa: PLC0415 - needs Docker

        return WorkerNats(start_nats_container(stack, authorization(passwords)), passwords), None
    running = RunningServer(Nats(directory / "nats", authorization=authorization(passwords), durability="process"))
    server = stack.enter_context(running)
    return WorkerNats(server.url, passwords), running


def containers_wanted() -> bool:
    """Whether servers come from images."""
    return os.environ.get("FLOTILLA_TEST_SERVERS") == "containers"


def _service_passwords() -> dict[str, str]:
    return {service: secrets.token_hex(16) for service in READS}
