"""Alerts and dashboard panels are made of metrics, and of labels, that there are."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from flotilla_common.contracts.log_ledger import LedgerEntry
from log_shipper import metrics
from log_shipper.domain.host_losses import KINDS
from log_shipper.domain.ledger import Ledger
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


def samples(gauge) -> dict[tuple[str, ...], float]:
    return {tuple(one.labels.values()): one.value for metric in gauge.collect() for one in metric.samples}


def test_what_is_said_of_a_destination_ends_with_it():
    hour = datetime(2026, 11, 24, 5, tzinfo=UTC)
    nothing = {"filtered": 0, "delivered": 0, "dead_lettered": 0, "duplicates": 0}
    common = {"log_type": "result", "received": 7, "pending": 7, **nothing}
    entries = [LedgerEntry(destination=name, **common) for name in ("gone", "here")]
    metrics.show(Ledger(9, tuple(entries), {"gone": hour, "here": hour}, {"gone": 1, "here": 2}))
    metrics.FAILING.labels("gone").set(1)
    before = samples(metrics.OLDEST)

    metrics.show(Ledger(9, tuple(entries[1:]), {"here": hour}, {"here": 2}))

    assert set(before) >= {("gone",), ("here",)}
    for gauge in (metrics.OLDEST, metrics.CURSOR, metrics.FAILING, metrics.LINES, metrics.UNBALANCED):
        assert not [labels for labels in samples(gauge) if "gone" in labels]
    assert set(samples(metrics.CURSOR)) == {("here",)}
    assert samples(metrics.LINES)["here", "result", "pending"] == 7


def test_the_first_loss_of_a_kind_is_a_growth():
    metrics.show_losses({})

    assert samples(metrics.HOST_LOST) == {(kind,): 0 for kind in KINDS}
