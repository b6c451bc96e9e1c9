"""Alerts and dashboard panels are made of metrics, and of labels, that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from log_shipper import metrics
from prometheus_client.metrics import MetricWrapperBase

OBSERVABILITY = Path(__file__).resolve().parents[3] / "deploy/observability"
DASHBOARD = json.loads((OBSERVABILITY / "dashboards/log-shipper.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
RULES = [
    rule
    for group in yaml.safe_load((OBSERVABILITY / "alerts/log-shipper.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
SUFFIXES = {"counter": ("_total",), "gauge": ("",)}
OF_INVENTORY = {"flotilla_hosts_with_log_gap": {"state"}}  # its tests look at that
STATES = {"received", "filtered", "delivered", "dead_lettered", "pending", "duplicates"}


def labels_by_name() -> dict[str, set[str]]:
    """What Prometheus will know of logs: name of a series -> its labels."""
    found = {
        metric._name + suffix: set(metric._labelnames)
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for suffix in SUFFIXES[metric._type]
    }
    return found | OF_INVENTORY


def check(expression: str, shown: set[str]) -> None:
    known = labels_by_name()
    used = set(re.findall(r"flotilla_\w+", expression))
    grouped = {name for names in re.findall(r"by \(([^)]*)\)", expression) for name in names.split(", ")}
    chosen = set(re.findall(r"(\w+)=", expression))

    assert expression.count("(") == expression.count(")")
    assert used
    assert used <= known.keys()
    assert all(grouped | chosen | shown <= known[name] for name in used)
    assert set(re.findall(r'flotilla_log_lines{state="(\w+)"}', expression)) <= STATES


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_is_made_of_metrics_and_labels_that_there_are(title):
    for target in PANELS[title]["targets"]:
        check(target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"])))
    assert PANELS[title]["description"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_made_of_metrics_and_labels_that_there_are(rule):
    check(rule["expr"], set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])))
    assert rule["annotations"]["description"]


def test_each_alert_that_a_panel_names_exists_and_no_place_is_taken_twice():
    named = {name for panel in PANELS.values() for name in re.findall(r"Flotilla[A-Z]\w+", panel["description"])}
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS.values()}

    assert named <= {rule["alert"] for rule in RULES}
    assert len(places) == len(PANELS) == len({panel["id"] for panel in PANELS.values()})
