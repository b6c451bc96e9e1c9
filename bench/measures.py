"""One function per measure; each returns rows of the table."""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from flotilla_stack.testing import LAST_LINE, RunningStack

from bench.memory import by_program
from bench.people import Admin, Door
from bench.rows import Row

ROOT = Path(__file__).resolve().parent.parent
IDLE_HOSTS = 20
IDLE_SECONDS = 30.0
EDITS = 30
PAUSE_SECONDS = (0.0, 6.0)  # before an edit: a service may be anywhere in its waits
SHORT_PAUSE_SECONDS = 1.5  # at most, for most: together they begin anywhere in a wait as well
LONG_PAUSE_EVERY = 6
COLD_SECONDS = 900.0  # then a cold start is given up
QUERIED_HOSTS = 50
QUERIED_INTERVAL_SECONDS = 2
QUERIES = 10
HALTS = 10  # an even number: at the end live queries are on
WAIT_SECONDS = 90.0


def starts(home: Path) -> list[Row]:
    """Measure a first and a second start, and the memory of the idle system."""
    with RunningStack(home, "--hosts", str(IDLE_HOSTS)) as first:
        time.sleep(1)  # a person does not stop at once either
        first_seconds = first.ready_seconds
    with RunningStack(home, "--hosts", str(IDLE_HOSTS)) as second:
        wait_until(lambda: len(online(Admin(second))) >= IDLE_HOSTS, "all hosts are online")
        time.sleep(IDLE_SECONDS)
        memory = by_program(second.process.pid)
        seconds = second.ready_seconds
    for program, mib in memory.items():
        print(f"    {mib:8.1f} MiB  {program}")
    total = sum(memory.values())
    return [
        Row("start, new data", first_seconds, "s", 20),
        Row("start, data of an earlier run", seconds, "s", 20, f"{seconds / first_seconds:.2f} x the first"),
        Row("memory, idle, 20 hosts (PSS)", total, "MiB", 1.2e9 / 2**20, f"{total / IDLE_HOSTS:.1f} MiB a host"),
    ]


def edits(stack: RunningStack) -> list[Row]:
    """Measure how long an edit of agent options takes to be in every gateway's answers."""
    admin = Admin(stack)
    doors = [Door(gateway["plain_url"]) for gateway in stack.dev()["gateways"]]
    enrolling = {"enroll_secret": stack.dev()["enroll_secret"], "host_identifier": "bench-edit"}
    key = {"node_key": doors[0].post("/enroll", enrolling)["node_key"]}
    for door in doors:
        door.post("/config", key)
    plain = statistics.median(seconds_of(lambda: doors[0].post("/config", key)) for _ in range(50))
    taken = []
    for number in range(EDITS):
        time.sleep(pause_of(number))
        taken.append(seconds_of_edit(admin, doors, key, number))
    middle, worst = statistics.median(taken), max(taken)
    return [
        Row("edit of agent options, at every gateway: median", middle, "s", 1, f"{middle / plain:.0f} x one config"),
        Row(f"edit of agent options, at every gateway: worst of {EDITS}", worst, "s", 1),
    ]


def pause_of(number: int) -> float:
    """Return how long to wait before this edit, at random: a short while, and now and then longer than any wait."""
    least, most = PAUSE_SECONDS
    return random.uniform(least, most if number % LONG_PAUSE_EVERY == 0 else SHORT_PAUSE_SECONDS)


def seconds_of_edit(admin: Admin, doors: list[Door], key: dict[str, str], number: int) -> float:
    """Change one option and wait until each gateway answers with it."""
    begun = time.perf_counter()
    admin.call("PATCH", "/config", {"agent_options": {"config": {"options": {"schedule_max_drift": number + 1}}}})
    waiting = list(doors)
    while waiting:
        waiting = [
            d for d in waiting if d.post("/config", key).get("options", {}).get("schedule_max_drift") != number + 1
        ]
        if time.perf_counter() - begun > WAIT_SECONDS:
            raise TimeoutError(f"edit {number} did not arrive in {WAIT_SECONDS:g} s")
    return time.perf_counter() - begun


def halts(stack: RunningStack) -> list[Row]:
    """Measure how long the switch of all live queries takes to be in force at every gateway."""
    admin = Admin(stack)
    urls = [gateway["metrics_url"] for gateway in stack.dev()["gateways"]]
    taken = []
    with httpx2.Client(timeout=WAIT_SECONDS) as client:
        for number in range(HALTS):
            time.sleep(pause_of(number))
            word = f"\nflotilla_gateway_campaigns_halted {float(number % 2 == 0)}\n"
            begun = time.perf_counter()
            admin.call("PATCH", "/config", {"server_settings": {"live_query_disabled": number % 2 == 0}})
            wait_until(lambda word=word: all(word in client.get(url).text for url in urls), "gateways have the word")  # type: ignore[misc]
            taken.append(time.perf_counter() - begun)
    return [Row(f"live queries turned off or on, at every gateway: worst of {HALTS}", max(taken), "s", 1)]


def live_queries(stack: RunningStack, directory: Path) -> list[Row]:
    """Measure live queries on 50 hosts."""
    admin = Admin(stack)
    options = {"distributed_interval": QUERIED_INTERVAL_SECONDS, "logger_tls_period": 10}
    admin.call("PATCH", "/config", {"agent_options": {"config": {"options": options}}})
    with simulated(stack, directory, QUERIED_HOSTS):
        wait_until(lambda: len(online(admin)) >= QUERIED_HOSTS, "50 hosts are online")
        ids = online(admin)[:QUERIED_HOSTS]
        admin.seconds_of_live_query("SELECT version FROM osquery_info", ids)
        taken = [admin.seconds_of_live_query("SELECT version FROM osquery_info", ids) for _ in range(QUERIES)]
    middle, worst = statistics.median(taken), max(taken)
    ratio = f"{middle / QUERIED_INTERVAL_SECONDS:.2f} x the hosts' interval"
    return [
        Row("live query on 50 hosts, last result: median", middle, "s", 4, ratio),
        Row(f"live query on 50 hosts, last result: worst of {QUERIES}", worst, "s", 4),
    ]


def cold() -> list[Row]:
    """Measure `make run` in a fresh clone without any cached package."""
    with tempfile.TemporaryDirectory(prefix="flotilla-cold-") as directory:
        clone, cache = Path(directory) / "flotilla", Path(directory) / "cache"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {
            "UV_CACHE_DIR": str(cache),
            "PIP_CACHE_DIR": str(cache),
            "UV_NO_CACHE": "1",
            "PIP_NO_CACHE_DIR": "1",
        }
        begun = time.perf_counter()
        make = shutil.which("make") or "make"
        process = subprocess.Popen(
            [make, "-C", str(clone), "run"],
            env={**clean_environment(), **environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        seconds = 0.0
        given_up = threading.Timer(COLD_SECONDS, stop_group, [process])
        given_up.start()
        try:
            for line in process.stdout or ():
                if line.startswith(LAST_LINE):
                    seconds = time.perf_counter() - begun
                    stop_group(process)
        finally:
            given_up.cancel()
    if not seconds:
        raise RuntimeError(f"make run ended, or was not ready within {COLD_SECONDS:g} s")
    return [Row("cold start, packages to download", seconds, "s", 180)]


def stop_group(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C in the terminal of a process."""
    os.killpg(process.pid, signal.SIGINT)


def clean_environment() -> dict[str, str]:
    """Return the environment without a virtual environment of ours, and without what our make was told."""
    ours = {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "ARGS"}
    return {name: value for name, value in os.environ.items() if name not in ours}


@contextmanager
def simulated(stack: RunningStack, directory: Path, hosts: int) -> Iterator[None]:
    """Run simulated hosts that know the interval from their configuration."""
    dev = stack.dev()
    secret = directory / "enroll_secret"
    secret.write_text(dev["enroll_secret"], "utf-8")
    options = {
        "--url": dev["url"],
        "--ca-file": dev["ca_file"],
        "--enroll-secret-file": str(secret),
        "--hosts": str(hosts),
        "--seed": "simulated",
        "--flag": "config_refresh=5",
    }
    words = [word for pair in options.items() for word in pair]
    with (directory / "simulator.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "osquery_simulator", *words], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def online(admin: Admin) -> list[int]:
    """Return the ids of hosts that are online and have a hostname (the edit's own host has none)."""
    found = admin.call("GET", "/hosts", status="online")["hosts"]
    return [host["id"] for host in found if host["hostname"]]


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def wait_until(check: Callable[[], bool], what: str) -> None:
    """Wait until something is true.

    Raises:
        TimeoutError: it is not, after WAIT_SECONDS.

    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {WAIT_SECONDS:g} s: {what}")
        time.sleep(0.2)
