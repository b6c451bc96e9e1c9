"""The files that tell tools and people how to reach the running stack."""

import json
from typing import Any

from flotilla_stack.files import write_private
from flotilla_stack.layout import BUCKET, DATABASE, S3_KEY, Layout
from flotilla_stack.parts import services
from flotilla_stack.ports_plan import GATEWAYS, worker_names
from flotilla_stack.seed import Seeded
from flotilla_stack.supervisor import Supervisor

SERVERS = ("postgres", "nats", "valkey", "s3", "edge")
PREFIX = "/api/v1/osquery"


def write_papers(at: Layout, seeded: Seeded) -> None:
    """Write the enroll secret, osqueryd's flagfile and curl's configuration."""
    at.home.osqueryd.mkdir(mode=0o700, exist_ok=True)
    write_private(at.home.enroll_secret, seeded.enroll_secret + "\n")
    write_private(at.home.flagfile, flagfile(at))
    write_private(at.home.curl_config, curl_config(at, seeded.token))


def write_dev(at: Layout, supervisor: Supervisor, seeded: Seeded) -> None:
    """Write dev.json, again after each change of a process id."""
    write_private(at.home.dev, json.dumps(dev(at, supervisor, seeded), indent=2) + "\n")


def dev(at: Layout, supervisor: Supervisor, seeded: Seeded) -> dict[str, Any]:
    """Describe the running stack."""
    pids = {name: keeper.pid for name, keeper in supervisor.keepers.items()}
    health = {service.name: service.health_port for service in services(at)}
    return {
        "url": at.url,
        "ca_file": str(at.keys.ca),
        "admin": {"email": at.admin_email, "password": seeded.password, "token": seeded.admin_token},
        "enroll_secret": seeded.enroll_secret,
        "gateways": [gateway(at, number, pids.get(f"agent-gateway-{number}")) for number in GATEWAYS],
        "services": {
            name: {"pid": pids.get(name), "metrics_url": at.metrics_url(port)} for name, port in health.items()
        },
        "servers": {name: {"pid": pids.get(name), "port": at.ports[name]} for name in SERVERS},
        "postgres_url": at.postgres.url(DATABASE),
        "redis_url": at.valkey.url(0),
        "nats_url": at.nats.url,
        "nats_monitoring_url": at.nats.monitoring_url,
        "nats_users": dict(at.passwords.nats),
        "log_directory": str(at.home.shipped),
        "s3": {"endpoint": at.s3.endpoint, "bucket": BUCKET, "key": S3_KEY, "secret": at.passwords.s3_secret},
        "collector_url": at.collector_url,
        "ports": at.ports.by_name,
        "simulator": {"pid": pids.get("simulator")},
    }


def gateway(at: Layout, number: int, pid: int | None) -> dict[str, Any]:
    """Describe one gateway. With workers `pid` and `metrics_url` are their parent's, which serves no host itself."""
    workers = [{"metrics_url": at.metrics_url(name)} for name in worker_names(number, at.workers)]
    return {
        "url": f"https://localhost:{at.ports[f'gateway_{number}_tls']}",
        "plain_url": f"http://127.0.0.1:{at.ports[f'gateway_{number}_plain']}",
        "pid": pid,
        "metrics_url": at.metrics_url(f"health_gateway_{number}"),
    } | ({"workers": workers} if workers else {})


def flagfile(at: Layout) -> str:
    """Return a flagfile with which a real osqueryd on this machine joins: `osqueryd --flagfile FILE`."""
    own = at.home.osqueryd
    flags = {
        "tls_hostname": f"localhost:{at.ports['edge']}",
        "tls_server_certs": at.keys.ca,
        "enroll_secret_path": at.home.enroll_secret,
        "enroll_tls_endpoint": f"{PREFIX}/enroll",
        "host_identifier": "uuid",
        "config_plugin": "tls",
        "config_tls_endpoint": f"{PREFIX}/config",
        "config_refresh": 60,
        "logger_plugin": "tls",
        "logger_tls_endpoint": f"{PREFIX}/log",
        "logger_tls_period": 10,
        "disable_distributed": "false",
        "distributed_plugin": "tls",
        "distributed_interval": 10,
        "distributed_tls_max_attempts": 10,
        "distributed_tls_read_endpoint": f"{PREFIX}/distributed/read",
        "distributed_tls_write_endpoint": f"{PREFIX}/distributed/write",
        "disable_carver": "false",
        "carver_disable_function": "false",
        "carver_start_endpoint": f"{PREFIX}/carve/begin",
        "carver_continue_endpoint": f"{PREFIX}/carve/block",
        "carver_block_size": 8000000,
        "database_path": own / "osquery.db",
        "pidfile": own / "osqueryd.pid",
        "extensions_socket": own / "osquery.em",
    }
    return "".join(f"--{name}={value}\n" for name, value in flags.items())


def curl_config(at: Layout, token: str) -> str:
    """Return what `curl -K` needs to speak with the rights of an admin; without a token, to speak at all."""
    authorization = [f'header = "Authorization: Bearer {token}"'] if token else []
    lines = (f'cacert = "{at.keys.ca}"', *authorization, 'header = "Content-Type: application/json"')
    return "\n".join(("silent", "show-error", *lines)) + "\n"
