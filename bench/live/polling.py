"""Hosts that poll at a steady pace and answer what they are asked.

`python -m bench.live.polling INTERVAL HOSTS PORT...`: they are spread over the gateways' plain ports and over the
interval. A line of its standard input begins the measure of lateness; at its end it says as JSON how many polls and
answers there were, and how late polls were sent: a fleet that is late itself measures itself. Therefore it costs as
little as it can: what hosts send is written in advance.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop

from bench.bodies import encoded, rows_and_stats
from bench.fleet import node_key
from bench.live.lane import Lane, request
from bench.load_client import LoadFailed

LANES = 64  # connections; each has its hosts wait for one another
ROWS = 3
ANSWER_SECONDS = 30.0
WATCH_SECONDS = 1.0


@dataclass
class Account:
    """What all hosts did; lateness in seconds, of every poll."""

    polls: int = 0
    answers: int = 0
    late: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, float]:
        """Return the figures, times in milliseconds."""
        late = sorted(self.late) or [0.0]
        return {"polls": self.polls, "answers": self.answers, "p99_late_ms": late[len(late) * 99 // 100] * 1000}


class Hosts:
    """What the first `count` hosts send: the same poll each time, and a few rows for whatever they are asked."""

    def __init__(self, count: int) -> None:
        self.account = Account()
        rows, stats = rows_and_stats()
        self._rows, self._stats = encoded(rows[:ROWS]), encoded(stats)
        self._keys = [node_key(number).encode() for number in range(count)]
        self._polls = [request("/distributed/read", b'{"node_key":"%s"}' % key) for key in self._keys]

    def poll(self, number: int, due: float) -> bytes:
        """Return a host's poll, which is sent now."""
        self.account.late.append(time.monotonic() - due)
        self.account.polls += 1
        return self._polls[number]

    def answer(self, number: int, names: Sequence[str]) -> bytes:
        """Return what a host writes back: a few rows for each query, and what they cost it."""
        self.account.answers += len(names)
        parts = (b"%s:" % encoded(name) for name in names)
        rows, statuses, stats = zip(
            *((name + self._rows, name + b"0", name + self._stats) for name in parts), strict=True
        )
        body = b'{"node_key":"%s","queries":{%s},"statuses":{%s},"messages":{},"stats":{%s}}' % (
            self._keys[number],
            b",".join(rows),
            b",".join(statuses),
            b",".join(stats),
        )
        return request("/distributed/write", body)


async def poll_all(lanes: Sequence[Lane], count: int, interval: float) -> None:
    """Have each host poll once per interval, one after the other, for ever (cancel to stop)."""
    pause, due = interval / count, time.monotonic()
    while True:
        for number in range(count):
            due += pause
            await asyncio.sleep(max(due - time.monotonic(), 0))
            lanes[number % len(lanes)].poll(number, due)


async def watch(lanes: Sequence[Lane]) -> None:
    """Wait until a lane has failed.

    Raises:
        LoadFailed: it has, or was not answered in time.

    """
    while True:
        await asyncio.wait([lane.ended for lane in lanes], timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for lane in lanes:
            if lane.ended.done():
                lane.ended.result()
            if lane.busy_seconds() > ANSWER_SECONDS:
                raise LoadFailed(f"port {lane.port} did not answer in {ANSWER_SECONDS:g} s")


async def until_told(account: Account) -> None:
    """Wait for the end of standard input; with a line before it what was late until then is forgotten."""
    if await asyncio.to_thread(sys.stdin.readline):
        account.late.clear()
        await asyncio.to_thread(sys.stdin.read)


async def poll(interval: float, count: int, ports: Sequence[int]) -> Account:
    """Poll until standard input ends."""
    hosts, loop = Hosts(count), asyncio.get_running_loop()
    ended = loop.create_task(until_told(hosts.account))
    lanes = [await Lane.connect(ports[at % len(ports)], hosts) for at in range(LANES)]
    work = [loop.create_task(poll_all(lanes, count, interval)), loop.create_task(watch(lanes))]
    try:
        await asyncio.wait([ended, *work], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in work:
            one.cancel()
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        for lane in lanes:
            lane.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return hosts.account


def main() -> None:
    """Run."""
    interval, count, *ports = sys.argv[1:]
    uvloop.install()
    print(json.dumps(asyncio.run(poll(float(interval), int(count), [int(port) for port in ports])).to_json()))


if __name__ == "__main__":
    main()
