"""Stream LOGS to S3 through log-shipper on one core; everything else is on the other one."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import obstore
import pyarrow.parquet as pq
from obstore.store import S3Store

from bench.bodies import LINE_BYTES, LINES
from bench.house import wait_until
from bench.load_client import LoadFailed
from bench.memory import cpu_seconds, pss_mib
from bench.rows import Row
from bench.shipping.feeding import pause, publish
from bench.shipping.lines import POSTS, messages
from bench.shipping.place import ShippingPlace

DISTINCT = 128  # messages, 33 MiB: farther apart than any compressor looks
MESSAGES = 960
MEGA = 1e6
MEMORY_MIB = 300e6 / 2**20
LOOK_SECONDS = 0.02
WAIT_SECONDS = 60.0
BATCH_SECONDS = "0.2"  # batches of a backlog are cut by their size; this is how long the last one waits
VARIANTS: Mapping[str, tuple[Mapping[str, str], float | None]] = {
    "NDJSON (gzip)": ({"FORMAT": "ndjson"}, 60),
    "Parquet": ({"FORMAT": "parquet"}, 25),
    "NDJSON, by query": ({"FORMAT": "ndjson", "LAYOUT": "query"}, None),
    "Parquet, by query": ({"FORMAT": "parquet", "LAYOUT": "query"}, None),
}
"""Name -> settings of the destination, and MB/s that are asked for."""


@dataclass(frozen=True)
class Shipped:
    """What one run took."""

    seconds: float
    cpu: float
    peak_mib: float
    raw_bytes: int
    stored_bytes: int
    objects: int


def rows(place: ShippingPlace) -> Iterator[Row]:
    """Measure each variant."""
    bodies = list(messages(DISTINCT))
    for name, (settings, least) in VARIANTS.items():
        taken = ship(place, bodies, settings)
        wall, per_cpu = taken.raw_bytes / taken.seconds / MEGA, taken.raw_bytes / taken.cpu / MEGA
        ratio = taken.raw_bytes / taken.stored_bytes
        print(
            f"    {name:<18} {wall:6.1f} MB/s, {per_cpu:6.1f} MB per processor second; {ratio:.2f} : 1 in"
            f" {taken.objects} objects, PSS {taken.peak_mib:.0f} MiB at most",
            flush=True,
        )
        words = f"{per_cpu:.0f} MB per processor second, {ratio:.1f} : 1, {taken.objects} objects"
        yield Row(f"stream to S3 on one core, {name}: raw lines", wall, "MB/s", least, words, at_least=True)
        yield Row(f"... memory of log-shipper (PSS), {name}", taken.peak_mib, "MiB", MEMORY_MIB)


def ship(place: ShippingPlace, bodies: list[bytes], settings: Mapping[str, str]) -> Shipped:
    """Have lines wait in the stream, then let them go; count what is in the bucket."""
    store = place.fresh_bucket()
    with place.to_s3({**settings, "BATCH_SECONDS": BATCH_SECONDS}) as shipper:
        wait_until(lambda: place.cursor() is not None, shipper, "the destination is known")
        pause(place, "s3", is_paused=True)
        last = place.as_service("agent_gateway", lambda bus: publish(bus, bodies, MESSAGES))
        begun, spent, peak = time.monotonic(), cpu_seconds(shipper.target.pid), 0.0
        pause(place, "s3", is_paused=False)
        while (place.cursor() or 0) < last:
            shipper.check()
            peak = max(peak, pss_mib(shipper.target.pid))
            if time.monotonic() > begun + WAIT_SECONDS:
                raise LoadFailed(f"not shipped after {WAIT_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        seconds, cpu = time.monotonic() - begun, cpu_seconds(shipper.target.pid) - spent
    raw = MESSAGES * POSTS * LINES * LINE_BYTES
    stored, objects, lines = count(store)
    if lines != MESSAGES * POSTS * LINES:
        raise LoadFailed(f"{lines} lines are in the bucket, {MESSAGES * POSTS * LINES} were sent")
    return Shipped(seconds, cpu, peak, raw, stored, objects)


def count(store: S3Store) -> tuple[int, int, int]:
    """Return bytes, objects and lines of a bucket."""
    size = objects = lines = 0
    for entry in obstore.list(store).collect():
        body = bytes(obstore.get(store, entry["path"]).bytes())
        size, objects = size + len(body), objects + 1
        if entry["path"].endswith(".gz"):
            lines += zlib.decompress(body, 16 + zlib.MAX_WBITS).count(b"\n")
        else:
            lines += pq.ParquetFile(io.BytesIO(body)).metadata.num_rows
    return size, objects, lines
