"""What is killed in a fault run, in which order and for how long: all of it by a seed."""

from __future__ import annotations

import os
import random
import secrets
from dataclasses import dataclass

SEED = "FLOTILLA_FAULT_SEED"
PARTS = ("live-query", "admin-api", "valkey", "nats", "postgres", "agent-gateway-1")
LAST = "agent-gateway-2"
"""Patient hosts are there: it must live longer than the time after which it asks them again."""


@dataclass(frozen=True)
class Plan:
    """Parts with the seconds that each stays dead; the seconds from the start of a campaign to its deadline."""

    seed: str
    faults: tuple[tuple[str, float], ...]
    deadline_seconds: float

    def __str__(self) -> str:
        turns = ", ".join(f"{part} for {seconds:.1f} s" for part, seconds in self.faults)
        return f"{SEED}={self.seed}: killed are {turns}; a deadline after {self.deadline_seconds:.0f} s"


def plan_of(seed: str) -> Plan:
    """Return the plan of a seed."""
    choice = random.Random(seed)
    parts = [*choice.sample(PARTS, len(PARTS)), LAST]
    return Plan(seed, tuple((part, choice.uniform(1, 3)) for part in parts), choice.uniform(12, 25))


def chosen_plan() -> Plan:
    """Return the plan of the seed in the environment, else that of a new seed."""
    return plan_of(os.environ.get(SEED) or secrets.token_hex(4))


@dataclass
class Fault:
    """A part that was dead from `killed` to `back` (Unix seconds)."""

    part: str
    killed: float
    back: float = float("inf")

    def covers(self, moment: float, *, before: float = 0.0, after: float = 2.0) -> bool:
        """Whether it is dead at this moment, or was or will be so many seconds from it."""
        return self.killed - before <= moment <= self.back + after
