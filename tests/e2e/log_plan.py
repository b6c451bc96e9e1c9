"""What fails in a fault run of logs, in which order and for how long: all of it by a seed."""

from __future__ import annotations

import os
import random
import secrets
from dataclasses import dataclass

from .fault_plan import SEED

SECONDS = "FLOTILLA_LOG_FAULT_SECONDS"
Blow = tuple[str, str, float]
"""(how, part, seconds)."""
WHILE_ONE_LAGS = (("kill", "agent-gateway-1"), ("kill", "postgres"), ("pause", "log-shipper"))
AFTERWARDS = (
    ("kill", "nats"),
    ("kill", "s3"),
    ("kill", "log-shipper"),
    ("kill", "agent-gateway-2"),
    ("pause", "nats"),
    ("pause", "second"),
    ("pause", "agent-gateway-1"),
    ("trouble", "hook"),
    ("trouble", "search"),
    ("trouble", "kafka"),
    ("down", "kafka"),
    ("down", "search"),
    ("replay", "team"),
    ("replay", "kafka"),
)


@dataclass(frozen=True)
class LogPlan:
    """The seed, and how long it goes on at least: whole rounds, each with all faults."""

    seed: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{SEED}={self.seed}, {self.seconds:g} s at least"

    def turn(self, choice: random.Random, *, is_lagging: bool) -> list[Blow]:
        """Return the faults while some destinations are down, or those of the other time, in a new order."""
        parts = WHILE_ONE_LAGS if is_lagging else AFTERWARDS
        return [(how, part, choice.uniform(1, 3)) for how, part in choice.sample(parts, len(parts))]


def chosen_log_plan() -> LogPlan:
    """Return the plan that the environment asks for, else one round of a new seed."""
    return LogPlan(os.environ.get(SEED) or secrets.token_hex(4), float(os.environ.get(SECONDS) or 0))
