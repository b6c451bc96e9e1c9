"""Short runs of several servers in turn, so that a noisy minute of the machine hits all of them; medians of each."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace

from bench.load_client import Taken, Target, run_load
from bench.rows import Row


@dataclass(frozen=True)
class Pace:
    """How long is measured; the defaults are those of `make bench`."""

    seconds: float = 2.0
    rounds: int = 4
    warm_up: float = 0.5

    def in_short(self) -> Pace:
        """Return the same with half the time for a run, where states are taken in turn by whoever calls."""
        return replace(self, seconds=self.seconds / 2)

    def in_turns(self) -> Pace:
        """Return the same in four times as many runs, for servers that need no preparation: a slow phase hits all."""
        return replace(self, seconds=self.seconds / 4, rounds=self.rounds * 4, warm_up=self.warm_up / 4)

    def words(self) -> list[str]:
        """Return the load client's words."""
        return ["--seconds", f"{self.seconds:g}", "--warm-up", f"{self.warm_up:g}"]


@dataclass(frozen=True)
class Candidate:
    """One server with the load client's words for it."""

    name: str
    target: Target
    words: tuple[str, ...]


@dataclass
class Figures:
    """All runs of one candidate."""

    runs: list[Taken] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return the median of one member of the runs."""
        return statistics.median(float(getattr(run, name)) for run in self.runs)

    @property
    def cpu_us(self) -> float:
        """Microseconds of the server's processor time per request."""
        return self.median("cpu_us")

    def to_json(self) -> dict[str, float]:
        """Return the medians, for results/latest.json."""
        return {name: round(self.median(name), 3) for name in ("cpu_us", "rps", "p50_ms", "p99_ms")}


def compare(pace: Pace, *candidates: Candidate) -> dict[str, Figures]:
    """Run every candidate once per round."""
    found = {one.name: Figures() for one in candidates}
    for number in range(pace.rounds):
        for one in candidates:  # the same hosts ask all of them, others in each round
            found[one.name].runs.append(run_load(one.target, *pace.words(), "--seed", str(number), *one.words))
    show(found)
    return found


def show(found: dict[str, Figures]) -> None:
    """Print medians."""
    for name, figures in found.items():
        print(f"    {name:<44} {figures.cpu_us:9.2f} us  {figures.median('rps'):9.0f}/s", flush=True)


def ratio(ours: Figures, theirs: Figures) -> float:
    """Return our processor time per request over theirs: the median over rounds, in each of which both had a run.

    Of two runs one after the other a slow phase of the machine hits both.
    """
    return statistics.median(one.cpu_us / other.cpu_us for one, other in zip(ours.runs, theirs.runs, strict=True))


def at_most(measure: str, ours: Figures, theirs: Figures, limit: float, whose: str) -> Row:
    """Return a row: our processor time per request over theirs."""
    return Row(
        measure,
        ratio(ours, theirs),
        "x",
        limit,
        f"{ours.cpu_us:.1f} us, {whose} {theirs.cpu_us:.1f} us",
        details={"ours": ours.to_json(), "theirs": theirs.to_json()},
    )


def cheaper(measure: str, ours: Figures, theirs: Figures, limit: float, whose: str) -> Row:
    """Return a row: their processor time per request over ours, which must be at least `limit`."""
    return Row(
        measure,
        ratio(theirs, ours),
        "x",
        limit,
        f"{ours.cpu_us:.1f} us, {whose} {theirs.cpu_us:.1f} us",
        at_least=True,
        details={"ours": ours.to_json(), "theirs": theirs.to_json()},
    )
