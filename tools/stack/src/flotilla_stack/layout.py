"""The servers of one run, made once, so that every part and every paper means the same ports and passwords."""

import datetime
from dataclasses import dataclass

from flotilla_stack.certificates import Keys, make_keys
from flotilla_stack.home import Home
from flotilla_stack.passwords import ADMIN_EMAIL, Passwords, load_passwords
from flotilla_stack.ports_plan import GATEWAYS, Ports, choose_ports
from flotilla_stack.servers import S3, Caddy, Nats, Postgres, Upstreams, Valkey
from flotilla_stack.servers.nats import Durability
from flotilla_stack.servers.ports import give_back

DATABASE = "flotilla"
BUCKET = "flotilla-logs"
S3_KEY = "flotilla"
REGION = "us-east-1"


@dataclass(frozen=True)
class Layout:
    """Where everything is."""

    home: Home
    ports: Ports
    passwords: Passwords
    keys: Keys
    postgres: Postgres
    nats: Nats
    valkey: Valkey
    s3: S3
    edge: Caddy
    workers: int = 1
    """Processes of each gateway that serve hosts."""

    @property
    def url(self) -> str:
        """The address for hosts and people."""
        return self.edge.url

    @property
    def collector_url(self) -> str:
        """Where usage reports are sent."""
        return f"http://127.0.0.1:{self.ports['collector']}"

    @property
    def admin_email(self) -> str:
        """The first admin's e-mail."""
        return ADMIN_EMAIL

    def database_url(self, role: str) -> str:
        """Return the address of the database for a service, by its import name."""
        password = self.passwords.postgres[role]
        return self.postgres.url(DATABASE, user=f"flotilla_{role}", password=password)

    def metrics_url(self, health_port: str) -> str:
        """Return the address of a service's metrics by the name of its port."""
        return f"http://127.0.0.1:{self.ports[health_port]}/metrics"


def lay_out(home: Home, *, workers: int = 1, durability: Durability = "interval") -> Layout:
    """Choose ports, generate what is missing, and describe the servers; start nothing."""
    ports = choose_ports(home.ports, workers=workers)
    passwords = load_passwords(home.service_secrets, home.owner_secrets)
    keys = make_keys(home.keys, datetime.datetime.now(datetime.UTC))
    upstreams = Upstreams(gateways=[ports[f"gateway_{n}_plain"] for n in GATEWAYS], admin=ports["admin_api"])
    # The servers choose for themselves, and shall choose what is written down.
    give_back(*(ports[name] for name in ("edge", "postgres", "nats", "nats_monitoring", "valkey", "s3")))
    at = home.servers
    return Layout(
        home=home,
        ports=ports,
        passwords=passwords,
        keys=keys,
        postgres=Postgres(at / "postgres", password=passwords.postgres_owner, port=ports["postgres"]),
        nats=Nats(at / "nats", port=ports["nats"], monitoring_port=ports["nats_monitoring"], durability=durability),
        valkey=Valkey(at / "valkey", password=passwords.redis, port=ports["valkey"]),
        s3=S3(at / "s3", port=ports["s3"]),
        edge=Caddy(
            at / "edge",
            upstreams=upstreams,
            certificate=keys.certificate,
            key=keys.key,
            ca=keys.ca,
            port=ports["edge"],
        ),
        workers=workers,
    )
