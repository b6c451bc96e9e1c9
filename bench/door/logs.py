"""Log lines: 100 of 544 bytes per POST, `{}` after the stream's ack, a consumer that drains the stream meanwhile."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.bodies import LINES, NOTHING, READ, log_body
from bench.door.place import POLLING, PREFIX, Place, stock
from bench.house import House
from bench.load_client import KEPT_AGENT, STOCK_AGENT, LoadFailed, Taken, Target, run_load
from bench.rounds import compare
from bench.rows import Row

LINE_US = 1.2
LINES_PER_SECOND = 220_000
DRAIN_SECONDS = 30.0


class Drain:
    """The consumer's process, and what it has seen."""

    def __init__(self, house: House) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.drain", str(house.directory / "drained.ndjson")],
            env=house.environment("log_shipper"),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines, self.at = -1, 0.0
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        self.wait_for(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def wait_for(self, lines: int) -> float:
        """Return when the consumer had seen so many lines.

        Raises:
            LoadFailed: it has not, in DRAIN_SECONDS: acknowledged lines are missing.

        """
        with self._news:
            if not self._news.wait_for(lambda: self.lines >= lines, DRAIN_SECONDS):
                raise LoadFailed(f"{lines} lines were acknowledged, and {self.lines} are in the stream")
            return self.at

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                said = json.loads(line)
                self.lines, self.at = said["lines"], said["at"]
                self._news.notify_all()


@dataclass
class Posts:
    """Runs of one kind of POST."""

    runs: list[Taken] = field(default_factory=list)
    through: list[float] = field(default_factory=list)  # lines per second, from the first POST to the last line's sync

    @property
    def post_us(self) -> float:
        """The server's processor time for one POST."""
        return statistics.median(run.cpu_us for run in self.runs)

    @property
    def line_us(self) -> float:
        """The same for one line."""
        return self.post_us / LINES

    @property
    def rate(self) -> float:
        """Lines per second, through everything."""
        return statistics.median(self.through)


def rows(place: Place) -> Iterator[Row]:
    """Measure log POSTs, of the gateway and of the plain handler."""
    gateway, naive = place.gateway.target, place.naive
    body = place.house.directory / "log.json"
    body.write_bytes(log_body())
    plain, over_tls, by_line = Posts(), Posts(), Posts()
    with Drain(place.house) as drain:
        for _ in range(place.pace.rounds):
            post(place, drain, plain, gateway, kept(gateway, body))
            post(place, drain, by_line, naive, kept(naive, body))
            post(place, drain, over_tls, gateway, new(gateway, body))
    poll = compare(place.pace, stock(gateway, path=f"{PREFIX}/distributed/read", body=READ, expect=NOTHING))["gateway"]
    for name, posts in (("kept", plain), ("new TLS connection", over_tls), ("line by line", by_line)):
        print(f"    log, {name:<28} {posts.line_us:9.2f} us a line {posts.rate:9.0f} lines/s", flush=True)
    ratio = f"{by_line.line_us / plain.line_us:.0f} x cheaper than line by line ({by_line.line_us:.1f} us)"
    yield Row("log, kept plain: gateway's time per line", plain.line_us, "us", LINE_US, ratio)
    in_bytes = f"{plain.rate * bytes_per_line(body) / 2**20:.0f} MiB/s"
    yield Row(
        "log: lines/s through gateway, NATS, consumer", plain.rate, "/s", LINES_PER_SECOND, in_bytes, at_least=True
    )
    yield Row(
        "log: lines/s, over those of a plain handler",
        plain.rate / by_line.rate,
        "x",
        10,
        f"{by_line.rate:.0f} lines/s line by line",
        at_least=True,
    )
    allowed = LINE_US * LINES + poll.cpu_us
    yield Row(
        "log, new TLS connection: over 100 lines and one poll so",
        over_tls.post_us / allowed,
        "x",
        1,
        f"{over_tls.post_us:.0f} us a POST, of {allowed:.0f} us",
    )


def post(place: Place, drain: Drain, posts: Posts, target: Target, words: list[str]) -> None:
    """Post for a while, then wait until the consumer has every acknowledged line."""
    lines = drain.lines
    taken = run_load(target, *place.pace.words(), *words, pinned=False)
    begun: float = taken.raw["began_at"]
    drained = drain.wait_for(lines + taken.answered * LINES)
    time.sleep(0.2)  # more than was acknowledged would be news
    if drain.lines != lines + taken.answered * LINES:
        raise LoadFailed(f"{taken.answered * LINES} lines were acknowledged, and {drain.lines - lines} came")
    posts.runs.append(taken)
    posts.through.append(taken.answered * LINES / (drained - begun))


def kept(target: Target, body: Path) -> list[str]:
    """Return the words for POSTs over kept plain connections."""
    return ["--port", str(target.plain_port), "--connections", "64", "--user-agent", KEPT_AGENT, *posting(body)]


def new(target: Target, body: Path) -> list[str]:
    """Return the words for POSTs of stock hosts."""
    words = ["--port", str(target.tls_port), "--tls", "1.3", "--new-connection", "--user-agent", STOCK_AGENT]
    return [*words, *posting(body)]


def posting(body: Path) -> list[str]:
    """Return what both have in common."""
    return ["--path", f"{PREFIX}/log", "--body-file", str(body), "--expect", "{}", "--keys", str(POLLING)]


def bytes_per_line(body: Path) -> float:
    """Return the bytes of a body per line."""
    return body.stat().st_size / LINES
