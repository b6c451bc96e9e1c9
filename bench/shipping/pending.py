"""Ten million lines that a destination lacks: memory of log-shipper meanwhile, and how they go when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2
from flotilla_common.contracts.log_ledger import LogLedgerV1

from bench.bodies import LINES
from bench.house import GatewayProcess, wait_until
from bench.load_client import LoadFailed
from bench.memory import pss_mib
from bench.rows import Row
from bench.shipping.feeding import pause, publish
from bench.shipping.lines import POSTS, messages
from bench.shipping.place import ShippingPlace

PENDING = 10_000_000
PORTION = 200  # messages between two looks
DISTINCT = 128
MEMORY_MIB = 300e6 / 2**20
DRAIN_LINES = 2_000_000
WAIT_SECONDS = 300.0
LOOK_SECONDS = 0.05


def rows(place: ShippingPlace) -> Iterator[Row]:
    """Fill the stream and the blob store for a paused destination, then let it go for a while."""
    directory = place.house.directory / "lagging"
    variables = {"FLOTILLA_DESTINATIONS": "file", "FLOTILLA_FILE_DIRECTORY": str(directory)}
    bodies = list(messages(DISTINCT))
    with place.shipper({**variables, "FLOTILLA_REPLAY_WINDOW": "0"}) as shipper:
        wait_until(lambda: place.cursor("file") is not None, shipper, "the destination is known")
        pause(place, "file", is_paused=True)
        peak, begun = 0.0, time.monotonic()
        for _ in range(PENDING // (PORTION * POSTS * LINES)):
            place.as_service("agent_gateway", lambda bus: publish(bus, bodies, PORTION))
            peak = max(peak, pss_mib(shipper.target.pid))
            shipper.check()
        filling = time.monotonic() - begun
        seconds, ledger_peak = look(place, shipper)
        pause(place, "file", is_paused=False)
        rate, drain_peak = drain(place, shipper)
    stored = sum(path.stat().st_size for path in (place.house.directory / "blobs").rglob("*.gz")) / 2**20
    print(
        f"    filling {PENDING / filling:.0f} lines/s, PSS {peak:.0f} MiB; a look {seconds:.2f} s,"
        f" {ledger_peak:.0f} MiB; draining {rate:.0f} lines/s, {drain_peak:.0f} MiB; {stored:.0f} MiB stored",
        flush=True,
    )
    words = f"filling {peak:.0f}, at a look at the ledger {ledger_peak:.0f}, draining {drain_peak:.0f} MiB"
    yield Row(
        "memory of log-shipper, 10M lines pending (PSS)", max(peak, ledger_peak, drain_peak), "MiB", MEMORY_MIB, words
    )
    yield Row("... a look at the ledger then", seconds, "s", None)
    yield Row("... lines/s from there to a file", rate, "/s", None, f"{stored:.0f} MiB in the blob store")


def look(place: ShippingPlace, shipper: GatewayProcess) -> tuple[float, float]:
    """Look at the ledger, which must count all; return the seconds and the memory."""
    begun = time.monotonic()
    answer = place.as_service("admin_api", lambda bus: bus.request(LogLedgerV1()))
    seconds = time.monotonic() - begun
    found = sum(entry.pending + entry.delivered for entry in answer.entries)  # a pause takes effect within a second
    if found != PENDING:
        raise LoadFailed(f"{found} lines are in the ledger, {PENDING} were published")
    httpx2.get(f"http://127.0.0.1:{shipper.health_port}/metrics", timeout=30.0).raise_for_status()
    return seconds, pss_mib(shipper.target.pid)


def drain(place: ShippingPlace, shipper: GatewayProcess) -> tuple[float, float]:
    """Wait until a part is delivered; return lines/s, and the most memory."""
    begun, peak, had = time.monotonic(), 0.0, place.delivered("file")
    while (done := place.delivered("file") - had) < DRAIN_LINES:
        shipper.check()
        peak = max(peak, pss_mib(shipper.target.pid))
        if time.monotonic() > begun + WAIT_SECONDS:
            raise LoadFailed(f"{done} lines were delivered in {WAIT_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return done / (time.monotonic() - begun), peak
