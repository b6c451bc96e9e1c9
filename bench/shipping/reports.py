"""Results of a whole fleet, twice: once when no report has them, once when nothing has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts.logs import LINES_HEADER, Manifest, Segment, subject

from bench.house import wait_until
from bench.load_client import LoadFailed
from bench.memory import cpu_seconds
from bench.rows import Row
from bench.shipping.feeding import pause
from bench.shipping.place import ShippingPlace

HOSTS = int(os.environ.get("BENCH_REPORT_HOSTS", "10000"))
QUERIES = 20
ROWS = 8  # of each snapshot: a line of about 600 bytes
POSTS = 20  # of hosts, in a message
WAIT_SECONDS = 600.0
STATISTICS_SECONDS = 1.5  # after which Postgres has counted what an idle connection wrote
WROTE = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE schemaname = 'log_shipper'"
PLACE = "SELECT cursor_sequence FROM log_shipper.report_cursor"
HOST_ROWS = (
    "INSERT INTO inventory.hosts (id, revision, host_identifier, node_key_hash, last_enrolled_at)"
    " SELECT n, n, 'h-' || n, int8send(n), now() FROM generate_series(1, %s) n"
)
QUERY_ROWS = (
    "INSERT INTO admin_api.queries (name, query, interval_seconds, results_since)"
    " SELECT 'q-' || n, 'SELECT 1', 3600, now() - interval '1 day' FROM generate_series(1, %s) n"
)


@dataclass(frozen=True)
class Pass:
    """What one round of results took."""

    seconds: float
    cpu: float
    writes: Mapping[str, int]
    """Table of log-shipper -> rows written."""


def rows(place: ShippingPlace) -> Iterator[Row]:
    """Fill the reports, then send the same again."""
    place.database.execute(HOST_ROWS, (HOSTS,))
    place.database.execute(QUERY_ROWS, (QUERIES,))
    place.fresh_bucket()
    with place.to_s3({}) as shipper:
        wait_until(lambda: _cursor(place) is not None and place.cursor() is not None, shipper, "the work has begun")
        pause(place, "s3", is_paused=True)  # what a destination takes is another figure
        for name, number, most in (("first results", 0, None), ("nothing changed", 1, 0.0)):
            taken = _pass(place, shipper.target.pid, number, shipper.check)
            lines = HOSTS * QUERIES
            reports, times = taken.writes.get("query_reports", 0), taken.writes.get("query_report_times", 0)
            words = f"{lines} lines, {times} writes of blocks of times"
            yield Row(f"query reports, {name}: row writes", float(reports), "rows", most, words)
            per_line = (
                f"{taken.cpu / lines * 1e6:.1f} us of log-shipper's processor time per line, the intake's among it"
            )
            yield Row(f"... lines/s, {name}", lines / taken.seconds, "/s", None, per_line)
    found = place.database.execute("SELECT count(*) FROM log_shipper.query_reports").fetchone()
    if found is None or found[0] != HOSTS * QUERIES:
        raise LoadFailed(f"{found} reports are stored, {HOSTS * QUERIES} were sent")


def _pass(place: ShippingPlace, pid: int, number: int, check: Callable[[], None]) -> Pass:
    before, begun, spent = _writes(place), time.monotonic(), cpu_seconds(pid)
    last = place.as_service("agent_gateway", lambda bus: _publish(bus, number))
    while (_cursor(place) or 0) < last:
        check()
        if time.monotonic() > begun + WAIT_SECONDS:
            raise LoadFailed(f"not in the reports after {WAIT_SECONDS:g} s")
        time.sleep(0.05)
    seconds, cpu = time.monotonic() - begun, cpu_seconds(pid) - spent
    after = _writes(place)
    return Pass(seconds, cpu, {table: after[table] - before.get(table, 0) for table in after})


def _writes(place: ShippingPlace) -> dict[str, int]:
    time.sleep(STATISTICS_SECONDS)
    found = place.database.execute(WROTE, binary=False).fetchall()
    return {str(row[0]): int(row[-1]) for row in found}


def _cursor(place: ShippingPlace) -> int | None:
    found = place.database.execute(PLACE).fetchone()
    return None if found is None else found[0]


async def _publish(bus: Bus, number: int) -> int:
    publisher = CustodyPublisher(bus)
    await publisher.open()
    last = 0
    for first in range(1, HOSTS + 1, POSTS):
        body = message(range(first, min(first + POSTS, HOSTS + 1)), number)
        headers = {LINES_HEADER: str(min(POSTS, HOSTS + 1 - first) * QUERIES)}
        last = await publisher.publish(subject("result", first % 16), body, headers)
    return last


def message(hosts: Iterable[int], number: int) -> bytes:
    """Return a message of stream LOGS: a snapshot of each query of each host, an hour after those of the last pass."""
    now = int(time.time())
    posts, segments = [], []
    for host in hosts:
        body = b"".join(line(host, query, now - 3600 * (1 - number)) + b"\n" for query in range(1, QUERIES + 1))
        posts.append(body)
        segments.append(Segment(host, 0, now * 1000, QUERIES, len(body)))
    return msgspec.json.encode(Manifest(1, "result", segments)) + b"\n" + b"".join(posts)


def line(host: int, query: int, at: int) -> bytes:
    """Return the snapshot of a query: the same at every pass."""
    snapshot = [
        {"port": str(20 + row), "address": f"10.{query}.{host % 250}.{row}", "process": f"service-{host}-{row}"}
        for row in range(ROWS)
    ]
    members = {"name": f"pack/Global/q-{query}", "hostIdentifier": f"h-{host}", "unixTime": at, "counter": 0}
    return msgspec.json.encode({**members, "numerics": False, "snapshot": snapshot, "action": "snapshot"})
