"""How soon a person sees the answers of 5,000 hosts, through the whole product."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from flotilla_common.contracts.labels import ALL_HOSTS
from flotilla_common.contracts.node_keys import hash_node_key
from flotilla_stack.testing import RunningStack

from bench.fleet import node_key
from bench.load_client import ROOT, LoadFailed
from bench.people import Admin
from bench.rows import Row

HOSTS = 5000
INTERVAL_SECONDS = 5.0
SHARE = 0.95
RUNS = 20
PAUSE_SECONDS = (
    1.0  # at most, from the end of one run to the next start, so that hosts are met anywhere in their intervals
)
LIMIT_SECONDS = INTERVAL_SECONDS + 1.3
LATE_MS = 250.0  # of the hosts' own polls, 99 of 100: later ones say that the machine is too busy to measure anything
STOP_SECONDS = 30.0
SQL = "SELECT pid, name, path FROM processes LIMIT 3"
FILL = f"""
WITH fleet AS (
  INSERT INTO inventory.hosts (revision, host_identifier, hostname, platform, node_key_hash, last_enrolled_at)
    SELECT number, 'host-' || number, 'host-' || number, 'ubuntu', hash, now()
    FROM unnest(%s::bigint[], %s::bytea[]) AS hosts(number, hash) RETURNING id
), members AS (
  INSERT INTO inventory.label_membership (label_id, host_id) SELECT {ALL_HOSTS}, id FROM fleet
)
INSERT INTO inventory.host_seen (host_id, seen_at) SELECT id, now() FROM fleet
"""


def rows(directory: Path) -> Iterator[Row]:
    """Have hosts poll two gateways, and people watch."""
    with RunningStack(directory, "--without-simulator") as stack:
        fill(stack.dev()["postgres_url"])
        admin = Admin(stack)
        with polling(stack) as fleet:
            time_of_run(admin)  # every gateway knows every host by now, and every service is warm
            fleet.measure()
            taken = timed_runs(admin)
        if fleet.found["p99_late_ms"] > LATE_MS:
            raise LoadFailed(
                f"the hosts themselves were {fleet.found['p99_late_ms']:.0f} ms late: the machine is too busy"
            )
    worst, middle = max(taken), statistics.median(taken)
    print(f"    median {middle:.2f} s, worst {worst:.2f} s; {fleet.found}", flush=True)
    yield Row(
        f"95 % of 5,000 hosts' answers at the viewer: worst of {RUNS}",
        worst,
        "s",
        LIMIT_SECONDS,
        f"median {middle:.2f} s, hosts poll every {INTERVAL_SECONDS:g} s",
        details={"seconds": [round(one, 3) for one in taken], "hosts": fleet.found},
    )


def fill(postgres_url: str) -> None:
    """Write the fleet into the database, as if it had enrolled."""
    numbers = list(range(HOSTS))
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        connection.execute(FILL, (numbers, [hash_node_key(node_key(number)) for number in numbers]))


@dataclass
class Fleet:
    """The process of the hosts; `found`: its figures, at the end."""

    process: subprocess.Popen[str]
    found: dict[str, Any] = field(default_factory=dict)

    def measure(self) -> None:
        """Forget how late hosts were until now: while nothing was warm they say nothing of the runs."""
        assert self.process.stdin is not None
        self.process.stdin.write("measure\n")
        self.process.stdin.flush()


@contextmanager
def polling(stack: RunningStack) -> Iterator[Fleet]:
    """Have the fleet poll; what is given has its figures at the end.

    Raises:
        LoadFailed: a host was not answered as it should be.

    """
    ports = [str(urlsplit(gateway["plain_url"]).port) for gateway in stack.dev()["gateways"]]
    words = [sys.executable, "-m", "bench.live.polling", str(INTERVAL_SECONDS), str(HOSTS), *ports]
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    fleet = Fleet(process)
    try:
        yield fleet
    finally:
        said, complaint = process.communicate("", timeout=STOP_SECONDS)
    if process.returncode:
        raise LoadFailed(f"the hosts ended: {(complaint.splitlines() or [''])[-1]}")
    fleet.found.update(json.loads(said))


def timed_runs(admin: Admin) -> list[float]:
    """Start one campaign after the other; return the seconds of each."""
    pauses = random.Random(0)
    taken = []
    for _ in range(RUNS):
        time.sleep(pauses.uniform(0, PAUSE_SECONDS))
        taken.append(time_of_run(admin))
    return taken


def time_of_run(admin: Admin) -> float:
    """Ask all hosts and watch until each has answered; return seconds from the request to 95 % of the answers.

    Raises:
        LoadFailed: more or fewer hosts are asked than there are.

    """
    begun = time.monotonic()
    campaign_id = admin.start_live_query(SQL, labels=[ALL_HOSTS])
    answered: set[int] = set()
    taken = 0.0

    def take(host_id: int) -> bool:
        nonlocal taken
        answered.add(host_id)
        if not taken and len(answered) >= HOSTS * SHARE:
            taken = time.monotonic() - begun
        return len(answered) == HOSTS

    admin.watch(campaign_id, take)
    if len(answered) < HOSTS:
        raise LoadFailed(f"campaign {campaign_id} ended with {len(answered)} answers")
    return taken
