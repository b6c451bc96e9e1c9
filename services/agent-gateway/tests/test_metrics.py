"""What a gateway tells Prometheus of itself, and the rules that are made of it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from agent_gateway.metrics import GatewayCollector
from prometheus_client import CollectorRegistry, generate_latest

from .conftest import House

OBSERVABILITY = Path(__file__).resolve().parents[3] / "deploy/observability"
ALERTS = OBSERVABILITY / "alerts/agent-gateway.yaml"


def told(house: House) -> str:
    registry = CollectorRegistry()
    registry.register(GatewayCollector(house.gateway, lambda: 0))
    return generate_latest(registry).decode()


async def test_admission_is_told_by_class_reason_and_stream(house: House) -> None:
    admission = house.gateway.admission
    admission.logs.measured(97, 100)
    await house.post("log", {"node_key": "x"})
    await house.post("config", b" " * (64 * 1024 + 1))

    text = told(house)

    for line in (
        'flotilla_gateway_refused_total{class="log",reason="full"} 1.0',
        'flotilla_gateway_bodies_too_large_total{class="config"} 1.0',
        'flotilla_gateway_class_closed{class="log"} 1.0',
        'flotilla_gateway_class_closed{class="write"} 0.0',
        'flotilla_gateway_class_closed{class="enroll"} 0.0',
        'flotilla_gateway_class_closed{class="carve"} 0.0',
        'flotilla_gateway_stream_fullness{stream="LOGS"} 0.97',
        'flotilla_gateway_stream_fullness{stream="CARVES"} 0.0',
        "flotilla_gateway_enrolls_waiting 0.0",
    ):
        assert line in text


async def test_a_gateway_that_hears_nothing_tells_that_it_refuses(house: House) -> None:
    house.gateway.silence = lambda: 61.0

    assert told(house).count("flotilla_gateway_class_closed{") == told(house).count('"} 1.0') == 4


async def test_alerts_are_made_of_metrics_that_there_are(house: House) -> None:
    names = set(re.findall(r"^# TYPE (\w+)", told(house), re.MULTILINE))
    rules = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]

    assert len(rules) == len({rule["alert"] for rule in rules}) >= 6
    for rule in rules:
        used = set(re.findall(r"flotilla_gateway_\w+", rule["expr"]))
        assert used
        assert used <= names
        assert {"summary", "description"} <= rule["annotations"].keys()


async def test_dashboards_are_made_of_metrics_that_there_are(house: House) -> None:
    names = set(re.findall(r"^# TYPE (\w+)", told(house), re.MULTILINE))
    texts = [path.read_text("utf-8") for path in (OBSERVABILITY / "dashboards").glob("*.json")]

    used = {name for text in texts for name in re.findall(r"flotilla_gateway_\w+", text)}

    assert used
    assert used <= names
