"""Alerts and dashboard panels are made of metrics, and of labels, that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from live_query import metrics
from prometheus_client.metrics import MetricWrapperBase

OBSERVABILITY = Path(__file__).resolve().parents[3] / "deploy/observability"
DASHBOARD = json.loads((OBSERVABILITY / "dashboards/live-query.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
NEEDED = {
    "Open campaigns", "Answers per second", "Settle lag", "Budget pauses", "Ramps", "Archive: moved",
    "Archive: waiting", "Foreign answers", "Halted",
}  # fmt: skip


def labels_by_name() -> dict[str, set[str]]:
    """What Prometheus will know of live-query: name of a series -> its labels."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for suffix in SUFFIXES[metric._type]:
                labels = {*metric._labelnames, *({"le"} if suffix == "_bucket" else ())}
                found[metric._name + suffix] = labels
    return found


def used_in(expression: str) -> set[str]:
    return set(re.findall(r"flotilla_live_query_\w+", expression))


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_is_made_of_metrics_and_labels_that_there_are(title):
    known = labels_by_name()
    for target in PANELS[title]["targets"]:
        used = used_in(target["expr"])
        grouped = {name for names in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in names.split(", ")}
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))

        assert target["expr"].count("(") == target["expr"].count(")")
        assert used <= known.keys()
        assert used or "flotilla_gateway_" in target["expr"]  # the gateway's tests look at those
        assert all(grouped | shown <= known[name] for name in used)
        assert PANELS[title]["description"]


def test_the_dashboard_shows_what_operators_need_and_no_place_twice():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]

    assert PANELS.keys() >= NEEDED
    assert len(set(places)) == len(places) == len(PANELS) == len({panel["id"] for panel in DASHBOARD["panels"]})


def test_alerts_are_made_of_metrics_that_there_are():
    groups = yaml.safe_load((OBSERVABILITY / "alerts/live-query.yaml").read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert rules
    assert all(used_in(rule["expr"]) <= labels_by_name().keys() for rule in rules)
    others = [rule["expr"] for rule in rules if not used_in(rule["expr"])]
    assert all("flotilla_admin_api_" in expression for expression in others)  # admin-api's tests look at those
