"""What destinations behind HTTP share: requests cut by size and count, and taken apart when refused."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flotilla_common.clock import utc_now
from flotilla_common.contracts.logs import LOG_TYPES, Segment

from log_shipper.errors import DestinationDown
from log_shipper.http_client import MIB, HttpClient, HttpSettings, Refused, Reply, TooLarge
from log_shipper.sinks import Batch, Chunk, Limits, Line, Refusal, Target

FENCE_BITS = 63
PROBE = b'{"name":"flotilla_destination_test","action":"test","columns":{}}'
"""A line that no service can have reason to refuse."""


@dataclass(frozen=True)
class Record:
    """A line, and the bytes that stand for it in a request."""

    line: Line
    body: bytes


class HttpSink(ABC):
    """A destination behind HTTP. A kind says how a line looks, and sends one request."""

    replaces = False

    def __init__(self, settings: HttpSettings, headers: Mapping[str, str], *, keeps_cookies: bool = False) -> None:
        self.limits = Limits(batch_bytes=4 * MIB, batch_lines=20_000, batch_seconds=1.0)
        self.settings = settings
        self.client = HttpClient(settings, headers, keeps_cookies=keeps_cookies)

    @abstractmethod
    def encode(self, line: Line) -> bytes:
        """Return what stands for a line in a request, its separator with it; always the same. Raises Refused."""

    @abstractmethod
    async def send(self, records: Sequence[Record], delivery: Delivery) -> None:
        """Send one request, and tell `delivery` what became of each record.

        Raises:
            DestinationDown: it must be tried again.
            TooLarge, Refused: none was taken; `delivery` takes the request apart.

        """

    def part_of(self, line: Line) -> str:
        """Return which part of the service a line goes to, where it has several that can fail alone."""
        del line
        return ""

    async def plan(self, first_sequence: int, last_sequence: int, started_at: datetime) -> Target:
        """Nothing has to be decided before."""
        del first_sequence, last_sequence, started_at
        return {}

    async def deliver(self, batch: Batch, target: Target) -> list[Refusal]:
        """Send what is missing of a batch."""
        del target
        await Delivery(self, batch).run()
        return []

    async def try_out(self, line: bytes) -> str:
        """Send this line."""
        now_ms = int(utc_now().timestamp() * 1000)
        try:
            await self.trial(line, LOG_TYPES[0], now_ms)
        except (TooLarge, Refused) as error:
            raise DestinationDown(f"it refuses a line: {error}") from error
        return self.client.place

    async def trial(self, raw: bytes, log_type: str, received_ms: int) -> None:
        """Send a line that no host sent, as if it had come then. Raises what `send` raises.

        The fence is another one each time: who remembers what it has already must not know this line.
        """
        chunk = Chunk(0, log_type, 1, raw + b"\n", [Segment(0, 0, received_ms, 1, len(raw) + 1)])
        batch = Batch((0, secrets.randbits(FENCE_BITS)), 0, 0, utc_now(), [chunk])
        delivery = Delivery(self, batch, is_trial=True)
        await self.send([Record(line, self.encode(line)) for line in batch.missing()], delivery)

    async def close(self) -> None:
        """Close kept connections."""
        await self.client.close()


class Delivery:
    """One try to deliver a batch.

    Requests are cut over all lines of the batch, also those that are there already, so that a retry sends the same
    requests, as far as something of them is missing.
    """

    def __init__(self, sink: HttpSink, batch: Batch, *, is_trial: bool = False) -> None:
        self.batch = batch
        self._sink = sink
        self._progress = batch.progress
        self._is_trial = is_trial
        self._working: set[str] = set()  # parts of the service that took a line
        self._proving = asyncio.Lock()

    def accept(self, records: Sequence[Record]) -> None:
        """Note that the service has these."""
        self._progress.accept(record.line for record in records)
        self._working |= {self._sink.part_of(record.line) for record in records}

    def doubt(self, records: Sequence[Record]) -> None:
        """Note that the service may have these."""
        if not self._sink.replaces:
            self._progress.doubt(record.line for record in records)

    async def refuse(self, record: Record, error: TooLarge | Refused) -> None:
        """Note that the service will never take this one, unless it takes none at all: then its settings are wrong."""
        if self._is_trial:
            raise error
        await self._prove(record.line)
        self._progress.refuse(record.line, str(error))

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], records: Sequence[Record]) -> Reply:
        """Post a request that holds these records; they are doubtful when no answer comes. Raises DestinationDown."""
        return await self._sink.client.post(path, body, headers, lambda: self.doubt(records))

    async def run(self) -> None:
        """Send until all is there or refused.

        Raises:
            DestinationDown: something failed; what was begun by then has been ended.

        """
        groups = self._groups()
        failures: list[DestinationDown] = []

        async def work() -> None:
            for group in groups:
                if failures:
                    return
                try:
                    await self._send(group)
                except DestinationDown as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._sink.settings.concurrency):
                tasks.create_task(work())
        if failures:
            raise max(failures, key=lambda failure: failure.retry_after)

    def _groups(self) -> Iterator[list[Record]]:
        """Yield the lines of one request after the other."""
        most_bytes, most_lines = self._sink.settings.max_request_bytes, self._sink.settings.max_request_lines
        group: list[Record] = []
        size = 0
        for record in self._records():
            if group and (len(group) >= most_lines or size + len(record.body) > most_bytes):
                yield group
                group, size = [], 0
            group.append(record)
            size += len(record.body)
        if group:
            yield group

    def _records(self) -> Iterator[Record]:
        for chunk in self.batch.chunks:
            for line in chunk.each():
                try:
                    yield Record(line, self._encoded(line))
                except Refused as error:
                    if line.position not in self._progress.accepted:
                        self._progress.refuse(line, str(error))

    def _encoded(self, line: Line) -> bytes:
        body, longest = self._sink.encode(line), self._sink.settings.max_request_bytes
        if len(body) > longest:
            raise Refused(f"takes {len(body)} bytes, and a request (max_request_bytes) has {longest}")
        return body

    def _missing(self, records: Sequence[Record]) -> list[Record]:
        return [record for record in records if record.line.position not in self._progress.accepted]

    async def _send(self, records: Sequence[Record]) -> None:
        """Send records, in smaller requests where the service refuses one."""
        parts: list[Sequence[Record]] = [records]
        while parts:
            part = self._missing(parts.pop(0))
            if not part:
                continue
            try:
                await self._sink.send(part, self)
            except TooLarge as error:
                parts[:0] = await self._apart(part, error, len(part) // 2)
            except Refused as error:
                await self._prove(part[0].line)
                parts[:0] = await self._apart(part, error, len(part) // 2 if error.around is None else error.around)

    async def _apart(self, records: Sequence[Record], error: TooLarge | Refused, at: int) -> list[Sequence[Record]]:
        """Return the parts to send instead; one record alone is refused."""
        if len(records) == 1:
            await self.refuse(records[0], error)
            return []
        if isinstance(error, TooLarge) or error.around is None:
            return [records[:at], records[at:]]
        # Services count from 0 or from 1, even the same one: both that it can mean go alone.
        before, after = max(at - 1, 0), at + 1
        return [records[:before], *([one] for one in records[before:after]), records[after:]]

    async def _prove(self, line: Line) -> None:
        """Go on when the service takes any line at all: what it refuses then is wrong, and not its settings.

        Raises:
            DestinationDown: it refuses a plain line too.

        """
        part = self._sink.part_of(line)
        async with self._proving:
            if part in self._working:
                return
            try:
                await self._sink.trial(PROBE, line.log_type, line.received_ms)
            except (TooLarge, Refused) as error:
                raise DestinationDown(
                    f"it refuses every line, so settings are wrong, here or there: {error}"
                ) from error
            self._working.add(part)
