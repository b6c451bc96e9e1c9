"""One live-query as a process on the server's core, with Postgres, Valkey and NATS on disk beside it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from flotilla_common.bus.connection import Bus
from flotilla_common.db.migrate import READS
from flotilla_common.provision import provision_database
from flotilla_stack.servers import Postgres, RunningServer, Valkey
from flotilla_stack.servers.ports import choose_port

from bench.house import GatewayProcess, House, wait_until
from bench.live.people import People, start_people
from bench.load_client import SERVER_CORE, Target, core

T = TypeVar("T")

DATABASE = "flotilla"
HOSTS = 100_000
TEAM_IDS = (0, 1, 2, 3)  # those of bench/fleet.py; 0 = no team
LABEL = 1000
FILL = f"""
INSERT INTO inventory.hosts (id, revision, host_identifier, hostname, platform, team_id, last_enrolled_at)
  OVERRIDING SYSTEM VALUE
  SELECT n, n, 'host-' || n, 'host-' || n, 'ubuntu', nullif((n - 1) / 4 % 4, 0), now()
  FROM generate_series(1, {HOSTS}) AS n;
INSERT INTO inventory.host_seen (host_id, seen_at) SELECT n, now() FROM generate_series(1, {HOSTS}) AS n;
INSERT INTO admin_api.labels (id, name) OVERRIDING SYSTEM VALUE VALUES ({LABEL}, 'Bench');
INSERT INTO inventory.label_membership (label_id, host_id)
  SELECT label_id, n FROM generate_series(1, {HOSTS}) AS n, unnest(ARRAY[1, {LABEL}]) AS label_id;
ANALYZE;
"""


@dataclass
class LivePlace:
    """What is measured, and who stands around it."""

    house: House
    postgres: Postgres
    live_query: GatewayProcess
    stores: Mapping[str, Mapping[str, str]]
    """Service -> the variables that tell it where Postgres, Valkey and the blob store are."""
    redis_url: str

    @cached_property
    def gateway(self) -> GatewayProcess:
        """The gateway, which knows the whole fleet."""
        return self.house.start_gateway(HOSTS)

    @cached_property
    def people(self) -> People:
        """admin-api, and its first admin."""
        return start_people(self.house, self.stores["admin_api"])

    @cached_property
    def gateways(self) -> tuple[GatewayProcess, ...]:
        """Two gateways that know every host."""
        return self.gateway, self.house.start_gateway(HOSTS)

    def as_service(self, service: str, work: Callable[[Bus], Coroutine[Any, Any, T]]) -> T:
        """Do something on the bus with a service's own rights."""
        return self.house.neighbours.as_service(service, work)


def start(house: House) -> LivePlace:
    """Start the servers, write the fleet into the database, start live-query; the house stops them."""
    passwords = {role: secrets.token_hex(16) for role in READS}
    postgres = Postgres(house.directory / "postgres", password=secrets.token_hex(16))
    house.enter(RunningServer(postgres))
    valkey = house.enter(RunningServer(Valkey(house.directory / "valkey", password=secrets.token_hex(16))))
    postgres.create_database(DATABASE)
    provision_database(postgres.url(DATABASE), passwords)
    postgres.sql(FILL, database=DATABASE)
    blobs = house.directory / "blobs"
    blobs.mkdir()
    health = choose_port()
    stores = {
        service: {
            "FLOTILLA_DATABASE_URL": postgres.url(DATABASE, user=f"flotilla_{service}", password=passwords[service]),
            "FLOTILLA_REDIS_URL": valkey.url(0),
            "FLOTILLA_BLOB_URL": Path(blobs).absolute().as_uri(),
        }
        for service in ("live_query", "admin_api")
    }
    environment = (
        house.environment("live_query")
        | stores["live_query"]
        | {"FLOTILLA_SIGNING_KEY_FILE": str(house.keys.signing), "FLOTILLA_HEALTH_PORT": str(health)}
    )
    process, log_file = house.launch(
        "live-query", [*core(SERVER_CORE), sys.executable, "-m", "live_query"], environment
    )
    live_query = GatewayProcess(Target("live-query", process.pid), process, log_file, health)
    house.keep(live_query)
    wait_until(live_query.is_ready, live_query, "it is ready")
    return LivePlace(house, postgres, live_query, stores, valkey.url(0))
