"""What each part is told: its own secrets, and nothing of the caller's settings."""

from pathlib import Path

import pytest
from flotilla_stack.home import open_home
from flotilla_stack.layout import Layout, lay_out
from flotilla_stack.papers import gateway
from flotilla_stack.part import STOP_SECONDS
from flotilla_stack.parts import service_part, services, simulator_part
from flotilla_stack.ports_plan import GATEWAYS
from flotilla_stack.servers.ports import give_back


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return lay_out(open_home(tmp_path / "flotilla"))


def environment_of(layout: Layout, name: str) -> dict[str, str]:
    [service] = [service for service in services(layout) if service.name == name]
    return dict(service_part(layout, service).environment())


def test_a_gateway_gets_neither_database_nor_redis(layout: Layout) -> None:
    environment = environment_of(layout, "agent-gateway-1")

    assert "FLOTILLA_DATABASE_URL" not in environment
    assert "FLOTILLA_REDIS_URL" not in environment
    assert environment["FLOTILLA_NATS_USER"] == "agent_gateway"
    assert Path(environment["FLOTILLA_TLS_CERT_FILE"]).exists()


def test_only_live_query_gets_the_signing_key(layout: Layout) -> None:
    holders = [
        service.name
        for service in services(layout)
        if str(layout.keys.signing) in environment_of(layout, service.name).values()
    ]

    assert holders == ["live-query"]


def test_each_service_logs_in_as_itself_only(layout: Layout) -> None:
    for service in services(layout):
        environment = environment_of(layout, service.name)
        foreign = [password for role, password in layout.passwords.postgres.items() if role != service.role]

        assert environment["FLOTILLA_NATS_PASSWORD"] == layout.passwords.nats[service.role]
        assert not [value for value in environment.values() if any(password in value for password in foreign)]


def test_settings_of_the_caller_do_not_reach_a_service(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOTILLA_REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("FLOTILLA_LOG_LEVEL", "debug")
    environment = environment_of(layout, "inventory")

    assert "FLOTILLA_REDIS_URL" not in environment
    assert environment["FLOTILLA_LOG_LEVEL"] == "debug"


def test_no_port_is_given_twice_and_servers_listen_where_it_is_written(layout: Layout) -> None:
    ports = layout.ports.by_name

    assert len(set(ports.values())) == len(ports)
    assert layout.edge.port == ports["edge"]
    assert (layout.postgres.port, layout.nats.port) == (ports["postgres"], ports["nats"])


def test_a_gateway_with_workers_has_their_health_ports_behind_its_own(tmp_path: Path) -> None:
    home = open_home(tmp_path / "flotilla")
    layout = lay_out(home, workers=3)
    give_back(*layout.ports.by_name.values())
    again = lay_out(home, workers=3).ports

    ports = layout.ports.by_name
    described = [gateway(layout, number, 7) for number in GATEWAYS]
    urls = [[one["metrics_url"], *(worker["metrics_url"] for worker in one["workers"])] for one in described]
    rows = [[ports[f"health_gateway_{number}"] + place for place in range(4)] for number in GATEWAYS]
    assert urls == [[f"http://127.0.0.1:{port}/metrics" for port in row] for row in rows]
    assert len(set(ports.values())) == len(ports)
    assert again == layout.ports
    for number, row in zip(GATEWAYS, rows, strict=True):
        environment = environment_of(layout, f"agent-gateway-{number}")
        assert (environment["FLOTILLA_WORKERS"], environment["FLOTILLA_HEALTH_PORT"]) == ("3", str(row[0]))


def test_a_gateway_without_workers_is_described_as_one_process(layout: Layout) -> None:
    assert "workers" not in gateway(layout, 1, 7)
    assert [name for name in layout.ports.by_name if "worker" in name] == []


def test_the_simulator_comes_in_by_the_edge_with_its_secret_in_a_file(layout: Layout) -> None:
    command = simulator_part(layout, 7).command()

    assert command[command.index("--url") + 1] == layout.edge.url
    assert command[command.index("--hosts") + 1] == "7"
    assert command[command.index("--enroll-secret-file") + 1] == str(layout.home.enroll_secret)


def test_all_layers_together_stop_in_less_than_ten_seconds() -> None:
    assert sum(STOP_SECONDS.values()) < 10
