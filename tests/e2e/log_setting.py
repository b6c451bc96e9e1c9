"""The nine destinations of a fault run of logs, with what stands behind them; and a second log-shipper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from flotilla_common.testing.kafka_cluster import KafkaCluster
from flotilla_stack.servers.base import launched
from flotilla_stack.servers.ports import choose_port
from flotilla_stack.testing import RunningStack

from .log_places import PARTITIONS, TOPIC, Doorway, Place, Receiver, Search, in_files, in_objects, in_topic
from .people import Person
from .shipped import Shipped

RETRY = {"first_seconds": 0.2, "longest_seconds": 2.0}
SOON = {"seconds": 0.5}
BACKLOG_BYTES = 1024 * 1024
ROTATE_BYTES = 1_000_000
LAGGING, BURYING = "lagging", "burying"
STOP_SECONDS = 30.0


def write_declared(path: Path, directory: Path) -> None:
    """Write the file that declares one destination: files that are rotated, of results alone."""
    rotated = {
        "name": "rotated", "kind": "file", "filter": {"log_types": ["result"]}, "retry": RETRY,
        "settings": {"directory": str(directory), "rotate_bytes": ROTATE_BYTES, "gzip": True, "keep_files": 0},
    }  # fmt: skip
    path.write_text(yaml.safe_dump({"destinations": [rotated]}))


@dataclass
class Setting:
    """What destinations there are, and what stands behind them."""

    places: dict[str, Place]
    doorways: dict[str, Doorway]
    kafka: KafkaCluster
    lagging: tuple[str, ...] = (LAGGING, BURYING)
    burying: str = BURYING

    async def declare(self, person: Person, teams: dict[str, int]) -> None:
        """Make the destinations that are made by the API."""
        for place in self.places.values():
            if not place.spec:
                continue
            wanted: dict[str, list[Any]] = {"log_types": [place.log_type]} if place.log_type else {}
            wanted |= {"teams": [teams[place.team]]} if place.team else {}
            common = {"name": place.name, "retry": RETRY, "batch": SOON, "filter": wanted}
            await person.call("POST", "/logs/destinations", common | place.spec)


@asynccontextmanager
async def setting_of(stack: RunningStack, rotated: Path) -> AsyncIterator[Setting]:
    """Give the places of one run, open."""
    receivers = {"hook": Receiver(is_picky=True), "team": Receiver(), LAGGING: Receiver(), BURYING: Receiver()}
    search = Search()
    doorways = {name: Doorway(standin) for name, standin in [*receivers.items(), ("search", search)]}
    kafka = KafkaCluster()
    try:
        kafka.create(TOPIC, PARTITIONS)
        for doorway in doorways.values():
            await doorway.open()
        found = [
            *_real_places(stack, rotated),
            *(_hook(name, receiver, doorways[name].url) for name, receiver in receivers.items()),
            _search(search, doorways["search"].url),
            _kafka(kafka),
        ]
        yield Setting({place.name: place for place in found}, doorways, kafka)
    finally:
        for doorway in doorways.values():
            await doorway.shut()
        kafka.close()


def _reading(read: Callable[[], Counter[str]]) -> Any:
    async def count() -> Counter[str]:
        return read()

    return count


def _real_places(stack: RunningStack, rotated: Path) -> list[Place]:
    dev = stack.dev()
    shipped, s3 = Shipped(Path(dev["log_directory"]), dev["s3"]), dev["s3"]
    settings = {
        "bucket": s3["bucket"], "endpoint": s3["endpoint"], "access_key": s3["key"], "secret_key": s3["secret"],
        "prefix": "columns", "format": "parquet", "layout": "query",
    }  # fmt: skip
    return [
        Place("file", _reading(lambda: in_files(shipped.directory)), replaces=True),
        Place("rotated", _reading(lambda: in_files(rotated)), log_type="result", replaces=True),
        Place("s3", _reading(lambda: in_objects(shipped.store, ending=".gz")), replaces=True),
        Place(
            "columns",
            _reading(lambda: in_objects(shipped.store, ending=".parquet")),
            {"kind": "s3", "settings": settings},
            replaces=True,
        ),
    ]


def _hook(name: str, receiver: Receiver, url: str) -> Place:
    spec: dict[str, Any] = {"kind": "webhook", "settings": {"url": url, "secret": "shared"}}
    if name in {LAGGING, BURYING}:
        when_full = "spill" if name == LAGGING else "dead_letter"
        spec["backlog"] = {"bytes": BACKLOG_BYTES, "when_full": when_full}
    return Place(name, _reading(lambda: receiver.found), spec, team="theirs" if name == "team" else "")


def _search(search: Search, url: str) -> Place:
    spec = {"kind": "elasticsearch", "settings": {"url": url, "index": "osquery"}}
    return Place("search", _reading(lambda: search.found), spec, log_type="result", replaces=True)


def _kafka(kafka: KafkaCluster) -> Place:
    async def count() -> Counter[str]:
        return await in_topic(kafka)

    settings = {"brokers": kafka.brokers, "topic": TOPIC, "delivery_seconds": 5}
    return Place("kafka", count, {"kind": "kafka", "settings": settings})


@dataclass
class SecondShipper:
    """Another replica, with the environment of the stack's own."""

    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = launched([sys.executable, "-m", "log_shipper"], signal_number=signal.SIGTERM)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Stop it as a service manager does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(STOP_SECONDS)


def second_shipper(stack: RunningStack) -> SecondShipper:
    """Return a replica of the stack's log-shipper that has not been started (Linux)."""
    pid = stack.dev()["services"]["log-shipper"]["pid"]
    pairs = Path(f"/proc/{pid}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    environment = {os.fsdecode(name): os.fsdecode(value) for name, _, value in (pair.partition(b"=") for pair in pairs)}
    environment["FLOTILLA_HEALTH_PORT"] = str(choose_port())
    return SecondShipper(environment, stack.home / "second-log-shipper.log")
