"""Requests of one host: its node key, its headers, resending, retrying, enrolling."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from osquery_simulator.clock import Clock
from osquery_simulator.disk import HostDisk
from osquery_simulator.flags import Flags
from osquery_simulator.http_client import ExchangeTimeoutError, HttpClient, Response, Slot, TransportError
from osquery_simulator.overlay import OSQUERY_VERSION
from osquery_simulator.report import Statistics
from osquery_simulator.settings import SimulatorSettings
from osquery_simulator.signals import Signal
from osquery_simulator.verdict import Judgement, Verdict, judge, node_key_in

ENROLL, CONFIG, READ, WRITE, LOG = "enroll", "config", "distributed/read", "distributed/write", "log"
BEGIN, BLOCK = "carve/begin", "carve/block"


class WorkerCrashError(Exception):
    """The worker process died; its watcher will start another."""


def dumps(document: object) -> str:
    """Write JSON as osquery does: no blanks, no escapes for letters."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@dataclass
class Line:
    """The network of one host, as far as a test may pull the plug."""

    is_connected: bool = True
    replies_to_lose: int = 0
    """So many answers, once read, are thrown away as if the connection had broken."""


@dataclass
class Remote:
    """One host's way to the server."""

    settings: SimulatorSettings
    clock: Clock
    client: HttpClient
    statistics: Statistics
    flags: Flags
    disk: HostDisk
    describe: Callable[[], Any]
    """Makes the body of an enrolment (asynchronously: it asks the tables)."""
    changed: Signal
    slots: dict[str, Slot] = field(default_factory=dict)
    line: Line = field(default_factory=Line)
    is_dirty: bool = False
    """Set when the disk should be written soon."""
    enrolls: int = 0
    last_failure: str = ""
    _enrolling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def need_key(self, thread: str) -> str:
        """Give the node key; without one, go through a round of enrolment attempts. An empty key: the round failed."""
        async with self._enrolling:
            if not self.disk.node_key:
                await self._enroll_round(thread)
            return self.disk.node_key

    async def _enroll_round(self, thread: str) -> None:
        attempts = self.flags.number("tls_enroll_max_attempts")
        longest = self.flags.number("tls_enroll_max_interval")
        attempt = 0
        while attempts == 0 or attempt < attempts:
            if attempt:
                await self.clock.sleep(min(attempt * attempt, longest))
            attempt += 1
            key = await self._enroll_once(thread)
            if key:
                self._keep_key(key)
                return

    async def _enroll_once(self, thread: str) -> str:
        body = dumps({"enroll_secret": self.settings.enroll_secret, **await self.describe()})
        response = await self._send(thread, ENROLL, body.encode("utf-8", "replace"), key="")
        key = "" if response is None else node_key_in(response.body)
        if response is not None and not key:
            self._note_failure(ENROLL, f"no key in {response.body[:60]!r}")
        return key

    def _keep_key(self, key: str) -> None:
        self.statistics.counters["re-enrolls" if self.enrolls else "enrolls"] += 1
        self.enrolls += 1
        self.disk.node_key = key
        self.is_dirty = True
        self.changed.fire()

    async def ask(self, thread: str, endpoint: str, members: dict[str, object]) -> Verdict:
        """Make one request with the node key as its last member, and judge the answer.

        Raises:
            WorkerCrashError: the answer killed the worker.

        """
        key = await self.need_key(thread)
        body = dumps({**members, "node_key": key}).encode("utf-8", "replace")
        return await self._ask(thread, endpoint, body, key)

    async def ask_retrying(self, thread: str, endpoint: str, members: dict[str, object], attempts: int) -> Verdict:
        """Ask up to `attempts` times with 1, 4, 9 ... seconds between; the key is looked up each time."""
        verdict = await self.ask(thread, endpoint, members)
        for attempt in range(1, attempts):
            if verdict.is_success:
                break
            await self.clock.sleep(attempt * attempt)
            verdict = await self.ask(thread, endpoint, members)
        return verdict

    async def send_lines(self, thread: str, kind: str, lines: Iterable[str]) -> Verdict:
        """Post buffered lines. Compressed, the members come in another order; both orders were recorded."""
        key = await self.need_key(thread)
        data, log_type, node_key = f'"data":[{",".join(lines)}]', f'"log_type":"{kind}"', f'"node_key":{dumps(key)}'
        if not self.flags.switch("logger_tls_compress"):
            body = f"{{{data},{log_type},{node_key}}}".encode("utf-8", "replace")
            return await self._ask(thread, LOG, body, key)
        body = f"{{{node_key},{log_type},{data}}}".encode("utf-8", "replace")
        packed = gzip.compress(body, compresslevel=9, mtime=0)
        return await self._ask(thread, LOG, packed, key, encoding="gzip")

    async def send_block(self, thread: str, members: dict[str, object]) -> bool:
        """Post a block of a carve, without the node key; return whether any JSON came back: `error` is not noticed."""
        body = dumps(members).encode("utf-8", "replace")
        verdict = await self._ask(thread, BLOCK, body, self.disk.node_key)
        return verdict.is_success or bool(verdict.document)

    async def _ask(self, thread: str, endpoint: str, body: bytes, key: str, *, encoding: str = "") -> Verdict:
        response = await self._send(thread, endpoint, body, key=key, encoding=encoding)
        if response is None:
            return Verdict(Judgement.FAILURE, "no answer")
        verdict = judge(self._plain_body(response))
        if verdict.is_empty:
            self.statistics.counters["empty_bodies"] += 1
        if not verdict.is_success:
            self._note_failure(endpoint, verdict.reason)
        if verdict.judgement is Judgement.NODE_INVALID and self.disk.node_key == key:
            self.disk.node_key = ""
            self.is_dirty = True
            self.changed.fire()
        if verdict.judgement is Judgement.CRASH:
            raise WorkerCrashError(verdict.reason)
        return verdict

    async def _send(self, thread: str, endpoint: str, body: bytes, *, key: str, encoding: str = "") -> Response | None:
        """Send, and once more if the exchange broke; a timeout is final. None: no answer."""
        slot = self.slots.setdefault(thread, Slot())
        for _ in range(2):
            began = time.monotonic()
            try:
                response = await self._post(slot, endpoint, self._headers(key, encoding), body)
            except TransportError as error:
                self._note_failure(endpoint, str(error))
                self.statistics.counters["broken_exchanges"] += 1
            except ExchangeTimeoutError:
                self._note_failure(endpoint, "timeout")
                return None
            else:
                self.statistics.exchanged(endpoint, time.monotonic() - began, response.status)
                return response
        return None

    async def _post(self, slot: Slot, endpoint: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        if not self.line.is_connected:
            slot.drop()
            raise TransportError("the host is offline")
        url = f"{self.settings.url.rstrip('/')}{self.settings.path_prefix}/{endpoint}"
        response = await self.client.post(slot, url, headers, body)
        if self.line.replies_to_lose:
            self.line.replies_to_lose -= 1
            slot.drop()
            raise TransportError("the reply was lost")
        return response

    def _headers(self, key: str, encoding: str) -> list[tuple[str, str]]:
        headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("User-Agent", f"osquery/{OSQUERY_VERSION}"),
        ]
        if key and self.settings.sends_authorization:
            headers.append(("Authorization", f"NodeKey {key}"))
        if encoding:
            headers.append(("Content-Encoding", encoding))
        if self.settings.accepts_gzip:
            headers.append(("Accept-Encoding", "gzip"))
        return headers

    def _plain_body(self, response: Response) -> bytes:
        """Unpack an answer only if it was asked for; an unrequested gzip body is judged as it is, and fails."""
        if self.settings.accepts_gzip and response.headers.get("content-encoding") == "gzip":
            try:
                return gzip.decompress(response.body)
            except (OSError, EOFError):
                return response.body
        return response.body

    def _note_failure(self, endpoint: str, reason: str) -> None:
        self.last_failure = f"{endpoint}: {reason}"
        self.statistics.failed(endpoint, reason)

    def drop_connections(self) -> None:
        """Close every socket of the host."""
        for slot in self.slots.values():
            slot.drop()
