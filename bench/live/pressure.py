"""Ten thousand hosts answer more than Redis holds, while one viewer is slow and another is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from bench.bodies import READ, encoded, rows_and_stats
from bench.door.place import PREFIX, asking
from bench.fleet import host_id
from bench.house import wait_until
from bench.live.place import LivePlace
from bench.live.viewing import Viewer
from bench.load_client import KEPT_AGENT, run_load
from bench.memory import pss_mib, tree_of
from bench.rows import Row

ANSWERING = 10_000  # hosts
ROWS = 50  # of each
REDIS_BYTES = 64 * 1024 * 1024
SLOW_SECONDS = 60.0
SLOW_BYTES = 50_000  # a second
LONGEST_SECONDS = 240.0
SAMPLE_SECONDS = 0.5
MEMORY_MIB = {"admin-api": 400, "live-query": 400, "gateway": 400}


def rows(place: LivePlace) -> Iterator[Row]:
    """Have everybody answer at once, and see what both viewers got."""
    with capped(place.redis_url), Peaks(place) as peaks:
        campaign_id = place.people.start_campaign("SELECT * FROM processes", [*map(host_id, range(ANSWERING))])
        slow = Viewer(place.people, campaign_id, ANSWERING, slow_seconds=SLOW_SECONDS, bytes_per_second=SLOW_BYTES)
        free = Viewer(place.people, campaign_id, ANSWERING)
        begun = time.monotonic()
        for viewer in (slow, free):
            viewer.start()
        answer(place, campaign_id)
        wait_until(lambda: is_complete(place, campaign_id), place.live_query, "everybody is settled")
        settled_seconds = time.monotonic() - begun
        for viewer in (slow, free):
            viewer.join(max(1.0, begun + LONGEST_SECONDS - time.monotonic()))
    for name, viewer in (("slow", slow), ("free", free)):
        seen = f"{viewer.rows.total()} rows in {viewer.seconds:.0f} s"
        print(f"    {name}: {seen}, {viewer.slowly} bytes slowly, {dict(viewer.other)} {viewer.failure}", flush=True)
        yield Row(
            f"rows lost or doubled at the viewer that reads {name}ly",
            float(astray(viewer)),
            "",
            0,
            viewer.failure or seen,
        )
    different = {host for host in {*slow.digests, *free.digests} if slow.digests.get(host) != free.digests.get(host)}
    yield Row("hosts whose rows differ between the two viewers", float(len(different)), "", 0)
    yield from peaks.rows(f"all settled after {settled_seconds:.0f} s")


def astray(viewer: Viewer) -> int:
    """Return how many rows a viewer lacks or has too often."""
    return sum(abs(viewer.rows[host_id(number)] - ROWS) for number in range(ANSWERING))


def is_complete(place: LivePlace, campaign_id: int) -> bool:
    """Whether the ledger is closed."""
    campaign = place.people.call("GET", f"/campaigns/{campaign_id}")["campaign"]
    return bool(campaign["ended_at"])


def answer(place: LivePlace, campaign_id: int) -> None:
    """Every host takes the query at the gateway, then answers it with rows of its own."""
    target = place.gateway.target
    words = ["--port", str(target.plain_port), "--user-agent", KEPT_AGENT, "--in-turn", "--requests", str(ANSWERING)]
    words += ["--seconds", "100", "--warm-up", "0"]
    body = place.house.directory / "answer.json"
    body.write_bytes(body_of(campaign_id))
    taking = asking(f"{PREFIX}/distributed/read", READ, '{"queries":{"')
    giving = [*asking(f"{PREFIX}/distributed/write", None, "{}"), "--body-file", str(body)]
    for request in (taking, giving):
        run_load(target, *words, *request, "--keys", str(ANSWERING))


def body_of(campaign_id: int) -> bytes:
    """Return what a host writes; each of its rows has the host's key."""
    [row, *_], stats = rows_and_stats()
    name = f"fleet_distributed_query_{campaign_id}_1_{campaign_id:032x}"
    found = [{**row, "pid": str(number), "cwd": "/home/{key}"} for number in range(ROWS)]
    answer = {"node_key": "{key}", "queries": {name: found}, "statuses": {name: 0}, "messages": {}}
    return encoded(answer | {"stats": {name: stats}})


@contextmanager
def capped(url: str) -> Iterator[None]:
    """Give Redis so much memory and no more."""
    with Redis.from_url(url) as redis:
        redis.config_set("maxmemory", REDIS_BYTES)
        yield
        redis.config_set("maxmemory", 0)


class Peaks:
    """A context manager that looks every half second how much memory everybody takes."""

    def __init__(self, place: LivePlace) -> None:
        processes = {"admin-api": place.people.process, "live-query": place.live_query, "gateway": place.gateway}
        self._roots = {name: process.target.pid for name, process in processes.items()}
        self._url = place.redis_url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.before = self._now()
        self.most = dict(self.before)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            now = self._now()
            self.most = {name: max(size, now[name]) for name, size in self.most.items()}

    def _now(self) -> dict[str, float]:
        found = {name: sum(map(pss_mib, tree_of(root))) for name, root in self._roots.items()}
        with Redis.from_url(self._url) as redis:
            found["Redis"] = int(redis.info("memory")["used_memory"]) / 2**20
        return found

    def rows(self, note: str) -> Iterator[Row]:
        """Yield the peaks."""
        for name, most in self.most.items():
            limit = REDIS_BYTES / 2**20 + 1 if name == "Redis" else MEMORY_MIB[name]
            yield Row(f"memory of {name}, peak", most, "MiB", limit, f"{self.before[name]:.0f} before; {note}")
