"""Alerts on admin-api's metrics name metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

from admin_api import metrics
from prometheus_client.metrics import MetricWrapperBase

ALERTS = Path(__file__).resolve().parents[3] / "deploy/observability/alerts"


def test_alerts_are_made_of_metrics_that_there_are():
    kinds = {"counter": "_total", "gauge": ""}
    known = {
        metric._name + kinds[metric._type]
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase) and metric._type in kinds
    }

    used = {
        name
        for path in ALERTS.glob("*.yaml")
        for name in re.findall(r"flotilla_admin_api_\w+", path.read_text("utf-8"))
    }

    assert used
    assert used <= known
