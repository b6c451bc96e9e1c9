"""Metrics of both parts."""

from __future__ import annotations

from prometheus_client import Counter

ATTEMPTS = Counter("flotilla_usage_report_attempts", "Attempts to send a usage report", ["outcome"])
RECEIVED = Counter("flotilla_usage_reports_received", "Reports posted to this collector", ["result"])
