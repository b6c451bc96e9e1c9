"""Counts and latencies of a run."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

GROWTH = 1.05  # each bucket of a histogram is 5 % wider than the one before
SMALLEST = 0.0001  # seconds
FAILURES_LIMIT = 500  # different reasons


@dataclass
class Histogram:
    """Latencies in a bounded space, exact to 5 %."""

    buckets: Counter[int] = field(default_factory=Counter)
    count: int = 0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one exchange."""
        self.buckets[max(0, math.ceil(math.log(max(seconds, SMALLEST) / SMALLEST, GROWTH)))] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def quantile(self, share: float) -> float:
        """Give the latency in seconds that this share of exchanges did not exceed."""
        left = math.ceil(self.count * share)
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return min(SMALLEST * GROWTH**bucket, self.longest)
        return self.longest


@dataclass
class Statistics:
    """All that the simulator counts, for all hosts together."""

    started: float = field(default_factory=time.monotonic)
    latencies: dict[str, Histogram] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Answers and broken exchanges that osqueryd takes as failures, by endpoint and reason."""
    statuses: Counter[int] = field(default_factory=Counter)

    def exchanged(self, endpoint: str, seconds: float, status: int) -> None:
        """Count an answered request."""
        self.latencies.setdefault(endpoint, Histogram()).add(seconds)
        self.statuses[status] += 1
        self.counters["requests"] += 1

    def failed(self, endpoint: str, reason: str) -> None:
        """Count a failure as osqueryd judges it; a server that never says the same twice does not fill the memory."""
        name = f"{endpoint}: {reason[:80]}"
        is_known = name in self.failures or len(self.failures) < FAILURES_LIMIT
        self.failures[name if is_known else f"{endpoint}: other"] += 1

    def to_json(self) -> dict[str, Any]:
        """Write it all down; latencies in milliseconds."""
        seconds = max(time.monotonic() - self.started, 0.001)
        return {
            "seconds": round(seconds, 1),
            "requests_per_second": round(self.counters["requests"] / seconds, 1),
            "counters": dict(sorted(self.counters.items())),
            "latency_ms": {name: _milliseconds(histogram) for name, histogram in sorted(self.latencies.items())},
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": dict(self.failures.most_common(50)),
        }


def _milliseconds(histogram: Histogram) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        "count": histogram.count,
        **{name: round(histogram.quantile(share) * 1000, 2) for name, share in shares.items()},
        "max": round(histogram.longest * 1000, 2),
    }


def summary(report: dict[str, Any], lines: dict[str, int]) -> str:
    """Say it in a few lines for a terminal."""
    counters = report["counters"]
    counted = ", ".join(
        f"{name} {counters.get(name, 0)}" for name in ("enrolls", "re-enrolls", "empty_bodies", "crashes")
    )
    failures = sum(report["failures"].values())
    rows = [
        f"{report['seconds']:>7} s  {report['requests_per_second']} requests/s, {counted}, failures {failures}",
        f"           lines: {', '.join(f'{name} {count}' for name, count in lines.items())}",
    ]
    rows += [f"           {name:<18} {figures}" for name, figures in report["latency_ms"].items()]
    rows += [f"           failed: {count} x {reason}" for reason, count in list(report["failures"].items())[:5]]
    return "\n".join(rows)
