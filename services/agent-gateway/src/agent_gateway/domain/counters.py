"""What the gateway counts: plain integers, read when Prometheus asks (its own counters cost five times more)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


def _zeroes() -> defaultdict[str, int]:
    return defaultdict(int)


@dataclass
class Counters:
    """Counts since the process began. Only the event loop's thread touches them."""

    requests: defaultdict[str, int] = field(default_factory=_zeroes)  # by endpoint
    failures: defaultdict[str, int] = field(default_factory=_zeroes)  # by error code
    backend_operations: defaultdict[str, int] = field(default_factory=_zeroes)  # by kind: what an idle poll never does
    lines: defaultdict[str, int] = field(default_factory=_zeroes)  # in custody, by log type
    lines_skipped: defaultdict[str, int] = field(default_factory=_zeroes)  # by reason
    answers: defaultdict[str, int] = field(default_factory=_zeroes)  # to campaigns, by outcome
    results: defaultdict[str, int] = field(default_factory=_zeroes)  # in custody, by kind: detail, label, policy
    results_unasked: defaultdict[str, int] = field(default_factory=_zeroes)  # by kind: nobody asks this host for them
    carve_blocks: defaultdict[str, int] = field(default_factory=_zeroes)  # by outcome: taken, faulty
    commands_refused: int = 0  # campaign commands whose signature or content is wrong
    queries_offered: int = 0
    pauses: int = 0  # that let requests on the TLS port gather
    paused_seconds: float = 0.0

    def count_skipped(self, lines: dict[str, int]) -> None:
        """Count lines that were left out, by reason."""
        for reason, count in lines.items():
            self.lines_skipped[reason] += count
