"""Hosts that poll at a steady pace and answer what they are asked.

`python -m bench.live.polling INTERVAL HOSTS PORT...`: they are spread over the gateways' plain ports and over the
interval. It ends when its standard input does, and says as JSON how many polls and answers there were, and how late
polls were sent: a fleet that is late itself measures itself.
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
from bench.live.kept import KeptConnection

LANES = 64  # connections; each has its hosts wait for one another
ROWS = 3


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


def answer_body(number: int, names: Sequence[str]) -> bytes:
    """Return what a host writes back: a few rows for each query, and what they cost it."""
    rows, stats = rows_and_stats()
    return encoded(
        {
            "node_key": node_key(number),
            "queries": dict.fromkeys(names, rows[:ROWS]),
            "statuses": dict.fromkeys(names, 0),
            "messages": {},
            "stats": dict.fromkeys(names, stats),
        }
    )


async def lane(port: int, numbers: Sequence[int], interval: float, begun: float, account: Account) -> None:
    """Have hosts poll one after the other, each once per interval, for ever (cancel to stop)."""
    pause = interval / len(numbers)
    due = begun
    async with KeptConnection(port) as connection:
        while True:
            for number in numbers:
                due += pause
                await asyncio.sleep(max(due - time.monotonic(), 0))
                account.late.append(time.monotonic() - due)
                names = await connection.read(number)
                account.polls += 1
                if names:
                    await connection.post("/distributed/write", answer_body(number, names))
                    account.answers += len(names)


async def poll(interval: float, hosts: int, ports: Sequence[int]) -> Account:
    """Poll until standard input ends."""
    account, begun = Account(), time.monotonic()
    loop = asyncio.get_running_loop()
    ended = loop.create_task(asyncio.to_thread(sys.stdin.read))
    lanes = [
        loop.create_task(
            lane(ports[at % len(ports)], range(at, hosts, LANES), interval, begun + at * interval / hosts, account)
        )
        for at in range(LANES)
    ]
    try:
        await asyncio.wait([ended, *lanes], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in lanes:
            one.cancel()
        for outcome in await asyncio.gather(*lanes, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
    return account


def main() -> None:
    """Run."""
    interval, hosts, *ports = sys.argv[1:]
    uvloop.install()
    print(json.dumps(asyncio.run(poll(float(interval), int(hosts), [int(port) for port in ports])).to_json()))


if __name__ == "__main__":
    main()
