"""One gateway with two worker processes beside one with one."""

from __future__ import annotations

from collections.abc import Iterator

from bench.bodies import NOTHING, READ
from bench.door.place import POLLING, PREFIX, Place, asking, kept_plain, stock
from bench.house import GatewayProcess
from bench.load_client import KEPT_AGENT, Target, run_load
from bench.rounds import Candidate, at_most, compare
from bench.rows import Row

LIMIT = 1.1
WORKERS = 2
PASSES = 4  # over all hosts, with connections spread anew over the workers, until each knows nearly all of them


def rows(place: Place) -> Iterator[Row]:
    """Measure both ways to ask. All of a gateway's processes stay on the one core."""
    measures = ("poll, new TLS 1.3 connection, two workers", "poll, kept plain, two workers")
    one = place.house.start_gateway(POLLING)
    two = place.house.start_gateway(POLLING, FLOTILLA_WORKERS=str(WORKERS))
    meet(two)
    for measure, way in zip(measures, (poll_anew, kept_plain), strict=True):
        found = compare(place.pace.in_turns(), way(one.target, name="one worker"), way(two.target, name="two workers"))
        yield at_most(measure, found["two workers"], found["one worker"], LIMIT, "one worker")
    one.stop()
    two.stop()


def meet(gateway: GatewayProcess) -> None:
    """Let every worker get to know the hosts: a worker that did not start with a full cache asks for them."""
    words = ["--connections", "512", "--user-agent", KEPT_AGENT, *asking(f"{PREFIX}/distributed/read", READ, NOTHING)]
    for _ in range(PASSES):
        limits = ["--requests", str(POLLING), "--in-turn", "--warm-up", "0", "--seconds", "60"]
        run_load(gateway.target, "--port", str(gateway.target.plain_port), *words, *limits)


def poll_anew(target: Target, name: str) -> Candidate:
    """Return a stock host's poll."""
    return stock(target, name=name, path=f"{PREFIX}/distributed/read", body=READ, expect=NOTHING)
