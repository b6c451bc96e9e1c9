"""What open campaigns add to an empty poll, at a gateway of their own that knows 200k hosts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.bodies import READ
from bench.door.place import POLLING, PREFIX, Place, asking, kept_plain, wait_for_campaigns
from bench.house import GatewayProcess
from bench.load_client import KEPT_AGENT, Taken, run_load
from bench.rounds import Candidate, Figures, at_most, compare, show
from bench.rows import Row

TARGETS = range(POLLING, 2 * POLLING)  # the 100k others
BROAD = 64  # campaigns at all of those
NARROW = 2000  # campaigns at 50 of those each
NARROW_HOSTS = 50
SHORT_ROUNDS = 2  # for one of the others' rounds
FIRST, STEP, LAST = 1001, 10_000, 99  # numbers of campaigns: where they begin, how far rounds are apart, the last round
WAITING = 1000  # of the targets: asked already, and silent
SEED = 1

Targets = Mapping[int, Sequence[int]]
"""Campaign -> the hosts that it asks."""


def rows(place: Place) -> Iterator[Row]:
    """Measure polls of 100k hosts that have nothing to do, while campaigns are open at 100k others, and while none are.

    The states take turns on one gateway: campaigns start and end in every round.
    """
    gateway = place.house.start_gateway(2 * POLLING)
    quiet, broad, narrow = (Figures() for _ in range(3))
    already = int(gateway.metric("flotilla_gateway_campaigns_open"))
    for number in range(SHORT_ROUNDS * place.pace.rounds):
        quiet.runs += polls(place, gateway)
        with campaigns_open(place, gateway, already, broad_ones(number)):
            broad.runs += polls(place, gateway)
        with campaigns_open(place, gateway, already, narrow_ones(number)):
            narrow.runs += polls(place, gateway)
    show({"no such campaign": quiet, "64 broad campaigns": broad, "2,000 narrow campaigns": narrow})
    yield at_most("empty poll, kept plain, 64 broad campaigns at 100k others", broad, quiet, 1.05, "without")
    yield at_most("empty poll, kept plain, 2,000 narrow campaigns at others", narrow, quiet, 1.10, "without")
    with campaigns_open(place, gateway, already, broad_ones(LAST)):
        asked = polls_of_asked(place, gateway)
    gateway.stop()
    yield Row(
        "poll of a host that all 64 have asked and wait for",
        asked.cpu_us / quiet.cpu_us,
        "x",
        None,
        f"{asked.cpu_us:.1f} us, without {quiet.cpu_us:.1f} us",
        details={"ours": asked.to_json()},
    )


def broad_ones(number: int) -> Targets:
    """Return the broad campaigns of a round."""
    first = FIRST + number * STEP
    return dict.fromkeys(range(first, first + BROAD), TARGETS)


def narrow_ones(number: int) -> Targets:
    """Return the narrow campaigns of a round."""
    first, chosen = FIRST + number * STEP + BROAD, random.Random(SEED)
    return {one: chosen.sample(TARGETS, NARROW_HOSTS) for one in range(first, first + NARROW)}


@contextmanager
def campaigns_open(place: Place, gateway: GatewayProcess, already: int, campaigns: Targets) -> Iterator[None]:
    """Have a gateway know that these are open, and at the end that they are not."""
    place.house.neighbours.start_campaigns(campaigns)
    wait_for_campaigns(gateway, already + len(campaigns))
    yield
    place.house.neighbours.end_campaigns(campaigns)
    wait_for_campaigns(gateway, already)


def polls(place: Place, gateway: GatewayProcess) -> list[Taken]:
    """Measure the polls of the hosts that nobody asks, for a short while."""
    return [run_load(gateway.target, *place.pace.in_short().words(), *kept_plain(gateway.target).words)]


def polls_of_asked(place: Place, gateway: GatewayProcess) -> Figures:
    """Hand the campaigns to some of their targets, then measure what their next polls cost."""
    target, name = gateway.target, "the same, asked and silent"
    words = ["--port", str(target.plain_port), "--user-agent", KEPT_AGENT]
    words += asking(f"{PREFIX}/distributed/read", READ, '{"queries":{')
    words += ["--first-key", str(POLLING), "--keys", str(WAITING)]
    run_load(target, *words, "--requests", str(WAITING), "--in-turn", "--warm-up", "0", "--seconds", "30")
    return compare(place.pace, Candidate(name, target, (*words, "--expect", '{"queries":{}')))[name]
