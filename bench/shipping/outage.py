"""One destination is down for five minutes: what hosts and the other destination feel, and how the backlog drains."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flotilla_stack.servers.ports import choose_port

from bench.bodies import LINES, log_body
from bench.door.logs import posting
from bench.house import GatewayProcess, Process, wait_until
from bench.load_client import KEPT_AGENT, LoadFailed, Taken, Target, run_load
from bench.memory import pss_mib
from bench.rows import Row
from bench.shipping.place import ShippingPlace

POSTS_PER_SECOND = 50  # of 100 lines
DOWN_SECONDS = 300.0
BEFORE_SECONDS = 60.0
LONGEST_RUN = 100.0  # of the load client
HOSTS = 100_000
DRAIN_PER_SECOND = 15_000
NEAR = 1.1
LOOK_SECONDS = 0.2
WAIT_SECONDS = 300.0
BACKLOG_BYTES = 64 * 1024 * 1024  # then it spills


@dataclass(frozen=True)
class Phase:
    """What was seen in one phase; `lag` is how many lines the file lacked of those that had come, at most times."""

    p99_ms: float
    lag: float
    lines: int


def rows(place: ShippingPlace) -> Iterator[Row]:
    """Measure before, while it is down, and while it comes back."""
    gateway = place.house.start_gateway(HOSTS)
    body = place.house.directory / "log.json"
    body.write_bytes(log_body())
    port = choose_port()
    variables = {
        "FLOTILLA_DESTINATIONS": "file,webhook",
        "FLOTILLA_FILE_DIRECTORY": str(place.house.directory / "beside"),
        "FLOTILLA_WEBHOOK_URL": f"http://127.0.0.1:{port}/",
        "FLOTILLA_WEBHOOK_BACKLOG_BYTES": str(BACKLOG_BYTES),
    }
    with place.shipper(variables) as shipper:
        wait_until(lambda: place.cursor("webhook") is not None, shipper, "the destinations are known")
        receiver = receive(place, port)
        before = phase(place, gateway.target, shipper, body, BEFORE_SECONDS)
        receiver.stop()
        down = phase(place, gateway.target, shipper, body, DOWN_SECONDS)
        place.house.keep(receive(place, port))
        rate, after = drain(place, gateway.target, shipper, body, before.lines + down.lines)
        peak = pss_mib(shipper.target.pid)
    print(f"    before {before}\n    down {down}\n    back {after}, {rate:.0f} lines/s, PSS {peak:.0f} MiB", flush=True)
    p99 = down.p99_ms / before.p99_ms
    yield Row(
        "log POSTs while a destination is down 5 min: p99",
        p99,
        "x",
        NEAR,
        f"{down.p99_ms:.2f} ms, before {before.p99_ms:.2f}",
    )
    lag = (down.lag + 1) / (before.lag + 1)
    yield Row("... lines that the other destination lacks", lag, "x", NEAR, f"{down.lag:.0f}, before {before.lag:.0f}")
    yield Row("... its backlog drains, at 5k new lines/s: lines/s", rate, "/s", DRAIN_PER_SECOND, at_least=True)
    yield Row("log POSTs meanwhile: p99", after.p99_ms / before.p99_ms, "x", None, f"{after.p99_ms:.2f} ms")


def receive(place: ShippingPlace, port: int) -> Process:
    """Start the webhook's receiver."""
    command = [sys.executable, "-m", "bench.shipping.receiver", str(port)]
    process, log_file = place.house.launch("receiver", command, place.house.environment("admin_api"))
    return Process(Target("receiver", process.pid, port), process, log_file)


def phase(place: ShippingPlace, gateway: Target, shipper: GatewayProcess, body: Path, seconds: float) -> Phase:
    """Post at a steady rate for a while, and see how far the file is behind."""
    taken: list[Taken] = []
    lags: list[int] = []
    with ThreadPoolExecutor(1) as aside:
        while (left := seconds - sum(LONGEST_RUN for _ in taken)) > 0:
            running = aside.submit(post, gateway, body, min(left, LONGEST_RUN))
            lags += watched(place, shipper, running)
            taken.append(running.result())
    lines = sum(one.answered for one in taken) * LINES
    return Phase(statistics.median(one.p99_ms for one in taken), statistics.median(lags), lines)


def post(gateway: Target, body: Path, seconds: float) -> Taken:
    """Post for so long."""
    words = ["--port", str(gateway.plain_port), "--connections", "16", "--user-agent", KEPT_AGENT, *posting(body)]
    rate = ["--rate", str(POSTS_PER_SECOND), "--seconds", f"{seconds:g}", "--warm-up", "0.5"]
    return run_load(gateway, *rate, *words, pinned=False)


def watched(place: ShippingPlace, shipper: GatewayProcess, running: Future[Taken]) -> list[int]:
    """Return how many messages the file lacked, look by look, while something runs."""
    found: list[int] = []
    while not running.done():
        shipper.check()
        newest = place.database.execute("SELECT cursor_sequence FROM log_shipper.intake").fetchone()
        found.append(max((newest[0] if newest else 0) - (place.cursor("file") or 0), 0))
        time.sleep(LOOK_SECONDS)
    return found


def drain(
    place: ShippingPlace, gateway: Target, shipper: GatewayProcess, body: Path, lines: int
) -> tuple[float, Phase]:
    """Wait until the webhook has what came before, while new lines come; return lines/s, and what hosts felt."""
    begun, had = time.monotonic(), place.delivered("webhook")
    took = 0.0
    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(post, gateway, body, LONGEST_RUN)
        while not took or not running.done():
            shipper.check()
            if not took and place.delivered("webhook") >= lines:
                took = time.monotonic() - begun
            if time.monotonic() > begun + WAIT_SECONDS:
                raise LoadFailed(f"the backlog is not drained after {WAIT_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        taken = running.result()
    return (lines - had) / took, Phase(taken.p99_ms, 0, taken.answered * LINES)
