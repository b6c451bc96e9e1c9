"""The whole way of a log line on two cores: POSTs at the gateway, the stream, log-shipper, a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.bodies import LINE_BYTES, LINES, log_body
from bench.door.logs import posting
from bench.house import GatewayProcess, wait_until
from bench.load_client import KEPT_AGENT, LoadFailed, Target, run_load
from bench.memory import cpu_seconds
from bench.rows import Row
from bench.shipping.place import ShippingPlace

LINES_PER_SECOND = 200_000
HOSTS = 100_000
SECONDS = 6.0
RUNS = 3
WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.02
CHUNK = 16 * 1024 * 1024


def rows(place: ShippingPlace) -> Iterator[Row]:
    """Measure a few runs; the median counts."""
    gateway = place.house.start_gateway(HOSTS)
    body = place.house.directory / "log.json"
    body.write_bytes(log_body())
    directory = place.house.directory / "files"
    variables = {
        "FLOTILLA_DESTINATIONS": "file",
        "FLOTILLA_FILE_DIRECTORY": str(directory),
        "FLOTILLA_REPLAY_WINDOW": "0.1",
    }
    with place.shipper(variables) as shipper:
        wait_until(lambda: place.cursor("file") is not None, shipper, "the destination is known")
        runs = sorted(run(place, gateway.target, shipper, body) for _ in range(RUNS))
        found, wanted = count(directory / "result.log"), place.delivered("file")
    if found != wanted:
        raise LoadFailed(f"{found} lines are in the file, {wanted} in the books")
    rate, shipper_us, gateway_us = runs[RUNS // 2]
    words = (
        f"{rate * LINE_BYTES / 2**20:.0f} MiB/s; of a line: gateway {gateway_us:.2f} us, log-shipper {shipper_us:.2f}"
    )
    measure = "log: lines/s through gateway, NATS, log-shipper, file"
    yield Row(measure, rate, "/s", LINES_PER_SECOND, words, at_least=True)


def run(place: ShippingPlace, gateway: Target, shipper: GatewayProcess, body: Path) -> tuple[float, float, float]:
    """Post for a while and wait for the file; return lines/s, and microseconds of a line of log-shipper and gateway."""
    before, spent = place.delivered("file"), cpu_seconds(shipper.target.pid)
    words = ["--port", str(gateway.plain_port), "--connections", "64", "--user-agent", KEPT_AGENT, *posting(body)]
    taken = run_load(gateway, "--seconds", f"{SECONDS:g}", "--warm-up", "0.5", *words, pinned=False)
    lines = taken.answered * LINES
    deadline = time.monotonic() + WAIT_SECONDS
    while place.delivered("file") < before + lines:
        shipper.check()
        if time.monotonic() > deadline:
            raise LoadFailed(f"{lines} lines were acknowledged, {place.delivered('file') - before} delivered")
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - float(taken.raw["began_at"])
    used = cpu_seconds(shipper.target.pid) - spent
    print(f"    {lines / seconds:9.0f} lines/s, {used / lines * 1e6:.2f} us a line in log-shipper", flush=True)
    return lines / seconds, used / lines * 1e6, taken.cpu_us / LINES


def count(path: Path) -> int:
    """Return how many lines a file has."""
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found += chunk.count(b"\n")
    return found
