"""Run the load client (bench/load) and read what it took."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.memory import tree_of

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "bench" / "load"
SERVER_CORE, CLIENT_CORE = "0", "1"
MISSING = "the load client was not built: it needs a C compiler and OpenSSL's headers (apt-get install gcc libssl-dev)"
WAIT_SECONDS = 240.0  # it ends itself long before
MEGA = 1e6

STOCK_AGENT = "osquery/5.17.0"  # never reuses a connection, so that the gateway tells it to close
KEPT_AGENT = "orbit"


class LoadFailed(Exception):
    """The load client could not measure, or the server answered otherwise than a host would want."""


@dataclass(frozen=True)
class Target:
    """A server under load: its root process and its ports."""

    name: str
    pid: int
    plain_port: int = 0
    tls_port: int = 0


@dataclass(frozen=True)
class Taken:
    """One run. `cpu_us` is what all processes of the server used per answered request."""

    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float
    answered: int
    rss_growth: float  # bytes, from before the first connection to the end of the window
    raw: dict[str, Any]


def core(number: str) -> list[str]:
    """Return the words that pin a program to a core.

    Raises:
        LoadFailed: there is no second core, or no taskset.

    """
    if shutil.which("taskset") is None:
        raise LoadFailed("taskset is missing: apt-get install util-linux")
    if len(os.sched_getaffinity(0)) < 2:
        raise LoadFailed("two cores are needed, one for the server and one for the client")
    return ["taskset", "-c", number]


def run_program(*words: str, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the load client and return what it printed.

    Raises:
        LoadFailed: it was not built, or could not do what it should.

    """
    if not PROGRAM.exists():
        raise LoadFailed(MISSING)
    done = subprocess.run(
        [*prefix, str(PROGRAM), *words], capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
    )
    if done.returncode:
        raise LoadFailed(f"the load client ended with {done.returncode}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_load(target: Target, *words: str, pinned: bool = True) -> Taken:
    """Put a load on a server and return what it took.

    Raises:
        LoadFailed: any answer was bad: such figures are worth nothing.

    """
    watched = [word for pid in tree_of(target.pid) for word in ("--watch", str(pid))]
    found = run_program(*words, *watched, prefix=tuple(core(CLIENT_CORE)) if pinned else ())
    if found["bad"] or not found["ok"]:
        raise LoadFailed(f"{target.name}: {found['bad']} of {found['bad'] + found['ok']} answers were bad: {found}")
    watching = found["watched"]
    seconds = sum(one["cpu_seconds"] for one in watching)
    return Taken(
        cpu_us=seconds * MEGA / max(found["ok_in_window"], 1),
        rps=found["rps"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        answered=found["ok"],
        rss_growth=sum(one["rss_after"] - one["rss_at_start"] for one in watching),
        raw=found,
    )
