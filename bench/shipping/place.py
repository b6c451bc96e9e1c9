"""One log-shipper on the server's core; NATS, Postgres, the S3 server and the bench itself are on the other one."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from flotilla_common.bus.connection import Bus
from flotilla_common.db.migrate import READS
from flotilla_common.provision import provision_database
from flotilla_stack.servers import S3, Postgres, RunningServer
from flotilla_stack.servers.ports import choose_port
from obstore.store import S3Store

from bench.house import GatewayProcess, House, wait_until
from bench.load_client import CLIENT_CORE, Target

T = TypeVar("T")

DATABASE = "flotilla"
KEY, SECRET, REGION = "bench", "bench", "us-east-1"
CURSOR = "SELECT cursor_sequence FROM log_shipper.destinations WHERE name = %s"
BOOKS = """
SELECT coalesce(sum(delivered), 0)::bigint FROM log_shipper.ledger WHERE destination = %s
"""


@contextmanager
def beside() -> Iterator[None]:
    """Keep this process, and all that it starts meanwhile, off the server's core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class ShippingPlace:
    """What is measured, and who stands around it."""

    house: House
    postgres: Postgres
    s3: S3
    password: str
    database: psycopg.Connection[tuple[int]]
    on_server: Sequence[str]
    """Words that pin a program to the server's core."""
    bucket: str = ""

    def as_service(self, service: str, work: Callable[[Bus], Coroutine[Any, Any, T]]) -> T:
        """Do something on the bus with a service's own rights."""
        return self.house.neighbours.as_service(service, work)

    def fresh_bucket(self) -> S3Store:
        """Make a bucket for the next log-shipper."""
        self.bucket = f"bench-{secrets.token_hex(4)}"
        self.s3.create_bucket(self.bucket)
        return S3Store(
            self.bucket, endpoint=self.s3.endpoint, region=REGION, access_key_id=KEY, secret_access_key=SECRET,
            client_options={"allow_http": True},
        )  # fmt: skip

    def cursor(self, destination: str = "s3") -> int | None:
        """Return how far a destination is."""
        found = self.database.execute(CURSOR, [destination]).fetchone()
        return None if found is None else found[0]

    def delivered(self, destination: str) -> int:
        """Return how many lines a destination has had, by the books."""
        found = self.database.execute(BOOKS, [destination]).fetchone()
        return 0 if found is None else found[0]

    def to_s3(self, settings: Mapping[str, str]) -> AbstractContextManager[GatewayProcess]:
        """Run log-shipper on the server's core, with S3 as its only destination."""
        own = {"ENDPOINT": self.s3.endpoint, "BUCKET": self.bucket, "ACCESS_KEY": KEY, "SECRET_KEY": SECRET}
        variables = {f"FLOTILLA_S3_{name}": value for name, value in (own | dict(settings)).items()}
        return self.shipper({"FLOTILLA_DESTINATIONS": "s3", **variables}, pinned=True)

    @contextmanager
    def shipper(self, variables: Mapping[str, str], *, pinned: bool = False) -> Iterator[GatewayProcess]:
        """Run log-shipper."""
        health = choose_port()
        environment = self.house.environment("log_shipper") | {
            "FLOTILLA_HEALTH_PORT": str(health),
            "FLOTILLA_DATABASE_URL": self.postgres.url(DATABASE, user="flotilla_log_shipper", password=self.password),
            "FLOTILLA_BLOB_URL": (self.house.directory / "blobs").absolute().as_uri(),
            **variables,
        }
        command = [*(self.on_server if pinned else ()), sys.executable, "-m", "log_shipper"]
        process, log_file = self.house.launch("log-shipper", command, environment)
        shipper = GatewayProcess(Target("log-shipper", process.pid), process, log_file, health)
        try:
            wait_until(shipper.is_ready, shipper, "it is ready")
            yield shipper
        finally:
            shipper.stop()


def start(house: House, on_server: Sequence[str] = ()) -> ShippingPlace:
    """Start the servers; the house stops them."""
    passwords = {role: secrets.token_hex(16) for role in READS}
    (house.directory / "blobs").mkdir()
    postgres = Postgres(house.directory / "postgres", password=secrets.token_hex(16))
    house.enter(RunningServer(postgres))
    postgres.create_database(DATABASE)
    provision_database(postgres.url(DATABASE), passwords)
    s3 = house.enter(RunningServer(S3(house.directory / "s3", durable=False)))
    url = postgres.url(DATABASE).replace("postgresql+psycopg", "postgresql")
    database = house.enter(psycopg.connect(url, autocommit=True))
    return ShippingPlace(house, postgres, s3, passwords["log_shipper"], database, on_server)
