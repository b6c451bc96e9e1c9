"""The settings: what does not fit together is said before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from agent_gateway.settings import Settings
from pydantic import ValidationError

GIVEN = {
    "nats_url": "nats://127.0.0.1:4222",
    "nats_user": "agent_gateway",
    "nats_password": "p",
    "health_port": 9100,
    "plain_port": 8080,
    "command_keys_file": "/keys.pem",
}


def settings(**more: Any) -> Settings:
    return Settings(**(GIVEN | more))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"workers": 0}, "greater than or equal to 1"),
        ({"workers": 4, "health_port": 65_532}, "leaves no ports for the workers"),
        ({"worker": 1}, "is for workers alone"),
        ({"workers": 2, "worker": 3}, "is for workers alone"),
        ({"plain_port": None}, "FLOTILLA_TLS_PORT, FLOTILLA_PLAIN_PORT or both"),
        ({"tls_port": 8443}, "FLOTILLA_TLS_PORT needs FLOTILLA_TLS_CERT_FILE"),
    ],
)
def test_settings_that_make_no_sense_are_refused(more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        settings(**more)


def test_one_process_is_neither_parent_nor_worker() -> None:
    alone = settings()

    assert (alone.is_parent, alone.bus_name, alone.health_port_of(alone.worker)) == (False, "agent_gateway", 9100)


def test_a_parent_tells_its_workers_apart_by_port_and_name() -> None:
    workers = [settings(workers=2, worker=number) for number in (1, 2)]

    assert settings(workers=2).is_parent
    assert [worker.is_parent for worker in workers] == [False, False]
    assert [worker.bus_name for worker in workers] == ["agent_gateway worker 1", "agent_gateway worker 2"]
    assert [worker.health_port_of(worker.worker) for worker in workers] == [9101, 9102]


def test_workers_of_a_parent_with_any_free_port_take_any_free_ports() -> None:
    assert settings(workers=2, health_port=0).health_port_of(2) == 0
