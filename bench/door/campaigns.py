"""What open campaigns add to an empty poll, at a gateway of their own that knows 200k hosts."""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.bodies import READ
from bench.door.place import POLLING, PREFIX, Place, asking, kept_plain, wait_for_campaigns
from bench.house import GatewayProcess
from bench.load_client import KEPT_AGENT, run_load
from bench.rounds import Candidate, Figures, at_most, compare
from bench.rows import Row

BROAD = range(1001, 1065)  # 64, all at the same 100k hosts
NARROW = range(2001, 4001)  # 2,000, at 50 of those each
NARROW_HOSTS = 50
WAITING = 1000  # of the targets: asked already, and silent
SEED = 1


def rows(place: Place) -> Iterator[Row]:
    """Measure polls of 100k hosts that have nothing to do, while campaigns are open at 100k others.

    Before, during and after, since the two states cannot run in turn on one process: "before" is the median of both.
    """
    neighbours = place.house.neighbours
    targets = range(POLLING, 2 * POLLING)
    gateway = place.house.start_gateway(2 * POLLING)
    already = int(gateway.metric("flotilla_gateway_campaigns_open"))
    quiet = polls(place, gateway, "no such campaign")
    neighbours.start_campaigns(dict.fromkeys(BROAD, targets))
    wait_for_campaigns(gateway, already + len(BROAD))
    broad = polls(place, gateway, "64 broad campaigns")
    asked = polls_of_asked(place, gateway)
    neighbours.end_campaigns(BROAD)
    wait_for_campaigns(gateway, already)
    chosen = random.Random(SEED)
    neighbours.start_campaigns({number: chosen.sample(targets, NARROW_HOSTS) for number in NARROW})
    wait_for_campaigns(gateway, already + len(NARROW))
    narrow = polls(place, gateway, "2,000 narrow campaigns")
    neighbours.end_campaigns(NARROW)
    wait_for_campaigns(gateway, already)
    quiet.runs += polls(place, gateway, "no such campaign, again").runs
    gateway.stop()
    yield at_most("empty poll, kept plain, 64 broad campaigns at 100k others", broad, quiet, 1.05, "without")
    yield at_most("empty poll, kept plain, 2,000 narrow campaigns at others", narrow, quiet, 1.10, "without")
    yield Row(
        "poll of a host that all 64 have asked and wait for",
        asked.cpu_us / quiet.cpu_us,
        "x",
        None,
        f"{asked.cpu_us:.1f} us, without {quiet.cpu_us:.1f} us",
        details={"ours": asked.to_json()},
    )


def polls(place: Place, gateway: GatewayProcess, name: str) -> Figures:
    """Measure the polls of the hosts that nobody asks."""
    return compare(place.pace, kept_plain(gateway.target, name=name))[name]


def polls_of_asked(place: Place, gateway: GatewayProcess) -> Figures:
    """Hand the campaigns to some of their targets, then measure what their next polls cost."""
    target, name = gateway.target, "the same, asked and silent"
    words = ["--port", str(target.plain_port), "--user-agent", KEPT_AGENT]
    words += asking(f"{PREFIX}/distributed/read", READ, '{"queries":{')
    words += ["--first-key", str(POLLING), "--keys", str(WAITING)]
    run_load(target, *words, "--requests", str(WAITING), "--in-turn", "--warm-up", "0", "--seconds", "30")
    return compare(place.pace, Candidate(name, target, (*words, "--expect", '{"queries":{}')))[name]
