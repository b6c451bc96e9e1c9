"""Memory per known host and per kept connection, and what a poll costs when a thousand times as many are known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bench.door.place import ASKED, POLLING, Place, kept_plain, kept_tls
from bench.house import GatewayProcess
from bench.load_client import run_load
from bench.rounds import at_most, compare
from bench.rows import Row

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
FEW, MANY = 1000, 1_000_000
UNASKED = POLLING + ASKED  # from this one on no campaign asks them
HOST_BYTES = 260
CONNECTION_KIB = 40
CONNECTIONS = 6000
TOUCH_RATE = 2000.0  # requests per second: each connection is used at least once
TOUCH_SECONDS = CONNECTIONS / TOUCH_RATE + 0.5


def rows(place: Place) -> Iterator[Row]:
    """Measure gateways that know no host, 100k and a million."""
    start = place.house.start_gateway
    none = start(0)
    few, some, many = start(FEW), start(POLLING), start(MANY)
    sizes = {count: resident(one) for count, one in ((0, none), (POLLING, some), (MANY, many))}
    for count in (POLLING, MANY):
        growth = (sizes[count] - sizes[0]) / count
        ratio = f"{sizes[count] / 2**20:.0f} MiB in all, {sizes[0] / 2**20:.0f} without hosts"
        yield Row(f"memory per known host, at {count:,}", growth, "B", HOST_BYTES, ratio)
    none.stop()
    some.stop()
    keys = ("--keys", str(FEW))
    found = compare(
        place.pace.in_turns(),
        kept_plain(few.target, *keys, name="1k hosts"),
        kept_plain(many.target, "--first-key", str(UNASKED), "--keys", str(MANY - UNASKED), name="1M hosts"),
    )
    many.stop()
    yield at_most("poll, kept plain, 1M known hosts", found["1M hosts"], found["1k hosts"], 1.2, "with 1k")
    yield per_connection(few)
    few.stop()


def per_connection(gateway: GatewayProcess) -> Row:
    """Measure what 6,000 kept TLS connections add to a gateway that has served some already."""
    target = gateway.target
    keys = ("--keys", str(FEW))
    run_load(target, *kept_tls(target, 64, TOUCH_RATE).words, *keys, "--seconds", "1", "--warm-up", "0")
    words = kept_tls(target, CONNECTIONS, TOUCH_RATE).words
    taken = run_load(target, *words, *keys, "--seconds", f"{TOUCH_SECONDS:g}", "--warm-up", "0")
    kib = taken.rss_growth / CONNECTIONS / 1024
    return Row(
        "memory per kept TLS connection", kib, "KiB", CONNECTION_KIB, "each asked once; without the kernel's part"
    )


def resident(gateway: GatewayProcess) -> float:
    """Return the resident bytes of a gateway (proc(5), statm)."""
    pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text("ascii").split()[1])
    return float(pages * PAGE_BYTES)
