"""All parts of the stack, as data: servers, the provisioning step, services, the edge, the simulated hosts."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from flotilla_stack.layout import BUCKET, DATABASE, REGION, S3_KEY, Layout
from flotilla_stack.part import Layer, Part, answers_readyz, part_of_server
from flotilla_stack.ports_plan import GATEWAYS

PASSED_ON = (
    "FLOTILLA_LOG_LEVEL",
    "FLOTILLA_OTLP_ENDPOINT",
    "FLOTILLA_LOGIN_RATE",
    "FLOTILLA_ARCHIVE_AFTER_SECONDS",
    "FLOTILLA_DESTINATIONS_CONFIG",
    "FLOTILLA_REPLAY_DAYS",
    "FLOTILLA_REPLAY_WINDOW",
)
"""Settings of the caller that reach the services; every other FLOTILLA_ variable is ours."""
LOCAL_NETWORK = "127.0.0.1/32"
PROVISIONED = ("provision",)
STEP_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """One service process: its name here, its module, its own settings."""

    name: str
    module: tuple[str, ...]
    role: str
    health_port: str
    settings: Mapping[str, str] = field(default_factory=dict)
    has_database: bool = True
    has_redis: bool = False


def server_parts(at: Layout) -> list[Part]:
    """Return the servers; they start side by side."""
    return [
        part_of_server(at.postgres, finish=lambda: create_database(at)),
        part_of_server(at.nats, prepare=lambda: authorize(at)),
        part_of_server(at.valkey),
        part_of_server(at.s3, finish=lambda: at.s3.create_bucket(BUCKET)),
    ]


def create_database(at: Layout) -> None:
    """Create the database of the services unless it is there."""
    at.postgres.create_database(DATABASE)


def authorize(at: Layout) -> None:
    """Fetch the users and allow-lists from provisioning, which keeps them.

    Raises:
        RuntimeError: provisioning failed; the message is its own.

    """
    command = [sys.executable, "-m", "flotilla_common.provision", "nats-config"]
    done = subprocess.run(
        [*command, "--secrets", str(at.home.service_secrets)],
        env=dict(clean_environment()),
        capture_output=True,
        text=True,
        check=False,
        timeout=STEP_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"cannot write the users of NATS: {done.stderr}")
    at.nats.authorization = done.stdout


def provision_part(at: Layout) -> Part:
    """Return the step that migrates the database, grants roles, and makes streams and buckets."""
    settings = {
        "FLOTILLA_ADMIN_DATABASE_URL": at.postgres.url(DATABASE),
        "FLOTILLA_NATS_URL": at.nats.url,
        "FLOTILLA_NATS_USER": "provision",
        "FLOTILLA_NATS_PASSWORD": at.passwords.nats["provision"],
        "FLOTILLA_SECRETS_FILE": str(at.home.service_secrets),
        "FLOTILLA_STREAM_SIZE": "dev",
    }
    return Part(
        name="provision",
        layer=Layer.STEP,
        command=lambda: [sys.executable, "-m", "flotilla_common.provision"],
        environment=lambda: clean_environment() | settings,
        needs=("postgres", "nats"),
        once=True,
    )


def services(at: Layout) -> list[Service]:
    """Return every service with its own settings."""
    secrets_key = {"FLOTILLA_SECRETS_KEY_FILE": str(at.keys.secrets_key)}
    blobs = {"FLOTILLA_BLOB_URL": at.home.blobs.absolute().as_uri()}
    return [
        Service("inventory", ("inventory",), "inventory", "health_inventory", secrets_key),
        Service("config-merger", ("config_merger",), "config_merger", "health_config_merger"),
        Service(
            "live-query",
            ("live_query",),
            "live_query",
            "health_live_query",
            blobs | {"FLOTILLA_SIGNING_KEY_FILE": str(at.keys.signing)},
            has_redis=True,
        ),
        Service("log-shipper", ("log_shipper",), "log_shipper", "health_log_shipper", blobs | shipper_settings(at)),
        Service(
            "admin-api",
            ("admin_api",),
            "admin_api",
            "health_admin_api",
            secrets_key | blobs | listen(at, "admin_api") | {"FLOTILLA_TRUSTED_PROXIES": LOCAL_NETWORK},
            has_redis=True,
        ),
        Service(
            "analytics-collector",
            ("analytics", "collector"),
            "analytics",
            "health_analytics_collector",
            listen(at, "collector"),
        ),
        Service(
            "analytics-reporter",
            ("analytics", "reporter"),
            "analytics",
            "health_analytics_reporter",
            {"FLOTILLA_COLLECTOR_URL": at.collector_url},
        ),
        *(gateway(at, number) for number in GATEWAYS),
    ]


def gateway(at: Layout, number: int) -> Service:
    """Return one of the gateways."""
    settings = {
        "FLOTILLA_LISTEN_HOST": "127.0.0.1",
        "FLOTILLA_TLS_PORT": str(at.ports[f"gateway_{number}_tls"]),
        "FLOTILLA_PLAIN_PORT": str(at.ports[f"gateway_{number}_plain"]),
        "FLOTILLA_TLS_CERT_FILE": str(at.keys.certificate),
        "FLOTILLA_TLS_KEY_FILE": str(at.keys.key),
        "FLOTILLA_COMMAND_KEYS_FILE": str(at.keys.command_keys),
        "FLOTILLA_TRUSTED_PROXIES": LOCAL_NETWORK,
        "FLOTILLA_WORKERS": str(at.workers),
    }
    port = f"health_gateway_{number}"
    return Service(f"agent-gateway-{number}", ("agent_gateway",), "agent_gateway", port, settings, has_database=False)


def listen(at: Layout, port: str) -> dict[str, str]:
    """Return the settings of a service with a port of its own."""
    return {"FLOTILLA_LISTEN_HOST": "127.0.0.1", "FLOTILLA_LISTEN_PORT": str(at.ports[port])}


def shipper_settings(at: Layout) -> dict[str, str]:
    """Return the two destinations, and the key for those that the API makes."""
    return {
        "FLOTILLA_SECRETS_KEY_FILE": str(at.keys.destinations_key),
        "FLOTILLA_DESTINATIONS": "file,s3",
        "FLOTILLA_FILE_DIRECTORY": str(at.home.shipped),
        "FLOTILLA_S3_ENDPOINT": at.s3.endpoint,
        "FLOTILLA_S3_BUCKET": BUCKET,
        "FLOTILLA_S3_REGION": REGION,
        "FLOTILLA_S3_ACCESS_KEY": S3_KEY,
        "FLOTILLA_S3_SECRET_KEY": at.passwords.s3_secret,
        "FLOTILLA_S3_PREFIX": "",
    }


def service_part(at: Layout, service: Service) -> Part:
    """Return a service as a part that starts when the database and the bus are provisioned."""
    return Part(
        name=service.name,
        layer=Layer.SERVICE,
        command=lambda: [sys.executable, "-m", *service.module],
        environment=lambda: clean_environment() | service_environment(at, service),
        needs=(*PROVISIONED, "s3") if service.name == "log-shipper" else (*PROVISIONED, "valkey"),
        is_ready=answers_readyz(at.ports[service.health_port]),
    )


def service_environment(at: Layout, service: Service) -> dict[str, str]:
    """Return the settings of one service: what all have, and its own."""
    common = {
        "FLOTILLA_NATS_URL": at.nats.url,
        "FLOTILLA_NATS_USER": service.role,
        "FLOTILLA_NATS_PASSWORD": at.passwords.nats[service.role],
        "FLOTILLA_HEALTH_HOST": "127.0.0.1",
        "FLOTILLA_HEALTH_PORT": str(at.ports[service.health_port]),
    }
    database = {"FLOTILLA_DATABASE_URL": at.database_url(service.role)} if service.has_database else {}
    redis = {"FLOTILLA_REDIS_URL": at.valkey.url(0)} if service.has_redis else {}
    return common | database | redis | dict(service.settings)


def edge_part(at: Layout) -> Part:
    """Return the edge; it needs nobody, a dead upstream is an answer for it."""
    return part_of_server(at.edge, layer=Layer.EDGE)


def simulator_part(at: Layout, hosts: int) -> Part:
    """Return the simulated hosts, which come in by the edge."""
    options = {
        "--url": at.url,
        "--enroll-secret-file": str(at.home.enroll_secret),
        "--ca-file": str(at.keys.ca),
        "--hosts": str(hosts),
        "--state-dir": str(at.home.simulator),
        "--report-every": "60",
    }
    arguments = [word for pair in options.items() for word in pair]
    return Part(
        name="simulator",
        layer=Layer.CLIENT,
        command=lambda: [sys.executable, "-m", "osquery_simulator", *arguments],
        environment=clean_environment,
        is_quiet=True,
    )


def clean_environment() -> dict[str, str]:
    """Return our environment without settings that were meant for other processes, and unbuffered."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOTILLA_") or name in PASSED_ON}
    return kept | {"PYTHONUNBUFFERED": "1"}
