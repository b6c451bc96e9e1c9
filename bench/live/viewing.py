"""Viewers of a live query, each in a thread: what it got, host by host, as fast as it may."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter

import msgspec
from websockets.exceptions import ConnectionClosed

from bench.live.people import People

SILENCE_SECONDS = 60.0  # then nothing comes any more


class Viewer(threading.Thread):
    """Reads results until so many hosts have answered; the first `slow_seconds` at `bytes_per_second`.

    `rows`: rows by host; `answers`: results by host (two: it came twice); `digests`: a hash of each host's rows.
    """

    def __init__(
        self, people: People, campaign_id: int, hosts: int, *, slow_seconds: float = 0.0, bytes_per_second: float = 0.0
    ) -> None:
        super().__init__(daemon=True)
        self._people, self._id, self._hosts = people, campaign_id, hosts
        self._slow_seconds, self._rate = slow_seconds, bytes_per_second
        self.rows: Counter[int] = Counter()
        self.answers: Counter[int] = Counter()
        self.digests: dict[int, str] = {}
        self.other: Counter[str] = Counter()
        self.slowly = 0  # bytes read in the slow phase
        self.seconds = 0.0
        self.failure = "it is not at the end"

    def run(self) -> None:
        """Read. A viewer whose connection ends has failed: it should not be cut off."""
        begun = time.monotonic()
        try:
            self._read(begun)
            self.failure = ""
        except (ConnectionClosed, TimeoutError, OSError) as error:
            self.failure = f"{type(error).__name__}: {error}"
        self.seconds = time.monotonic() - begun

    def _read(self, begun: float) -> None:
        with self._people.watch(self._id, is_slow=self._slow_seconds > 0) as socket:
            while len(self.answers) < self._hosts:
                text = socket.recv(SILENCE_SECONDS)
                self._take(text if isinstance(text, bytes) else text.encode())
                if time.monotonic() - begun < self._slow_seconds:
                    self.slowly += len(text)
                    time.sleep(max(0.0, begun + self.slowly / self._rate - time.monotonic()))

    def _take(self, text: bytes) -> None:
        message = msgspec.json.decode(text)
        if message["type"] != "result":
            self.other[message["type"]] += 1
            return
        host_id, rows = message["data"]["host"]["id"], message["data"]["rows"]
        self.answers[host_id] += 1
        self.rows[host_id] += len(rows)
        self.digests[host_id] = hashlib.sha256(msgspec.json.encode(rows)).hexdigest()
