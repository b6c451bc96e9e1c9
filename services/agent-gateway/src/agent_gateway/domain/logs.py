"""Log lines into custody: POSTs of one shard share a message for a few milliseconds; each waits for its ack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
from flotilla_common.contracts.logs import LINES_HEADER, LogType, Manifest, Segment, subject
from flotilla_common.contracts.shards import shard_of
from flotilla_common.errors import FleetError, Unavailable

from agent_gateway.domain import patience
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.lines import MESSAGE_BYTES, Piece

LINGER_SECONDS = 0.005
FLUSH_BYTES = 256 * 1024
MESSAGES_AT_ONCE = 4  # of one POST

Publish = Callable[[str, bytes, dict[str, str] | None], Awaitable[int]]


class _Batch:
    """What will be one message."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.segments: list[Segment] = []
        self.pieces: list[bytes] = []
        self.size = 0
        self.lines = 0
        self.stored: asyncio.Future[None] = loop.create_future()
        self.stored.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.timer: asyncio.TimerHandle | None = None


class LogIntake:
    """Coalesces and publishes. `publish` returns once the stream has the message, or raises Unavailable."""

    def __init__(self, publish: Publish, counters: Counters) -> None:
        self._publish = publish
        self._counters = counters
        self._open: dict[tuple[LogType, int], _Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def store(self, log_type: LogType, host: Host, pieces: list[Piece], received_ms: int) -> None:
        """Return once every line is in custody. A large POST goes out a few messages at a time, each a copy.

        Raises:
            Unavailable: not all of them are; the host keeps them all and comes again.

        """
        until = time.monotonic() + patience.HAND_OVER_SECONDS
        for start in range(0, len(pieces), MESSAGES_AT_ONCE):
            at_once = pieces[start : start + MESSAGES_AT_ONCE]
            stored = {self._add(log_type, host, piece, received_ms) for piece in at_once}
            # Unlike gather, this leaves a shared batch alone when one waiter is cancelled or has waited long enough.
            _, waiting = await asyncio.wait(stored, timeout=max(0.0, until - time.monotonic()))
            if waiting:
                raise Unavailable("the stream is slow")
            for future in stored:
                future.result()
        self._counters.lines[log_type] += sum(piece.lines for piece in pieces)

    def _add(self, log_type: LogType, host: Host, piece: Piece, received_ms: int) -> asyncio.Future[None]:
        key = (log_type, shard_of(host.host_id))
        batch = self._open.get(key)
        if batch is not None and batch.size + len(piece.body) > MESSAGE_BYTES:
            self._flush(key)
            batch = None
        if batch is None:
            loop = asyncio.get_running_loop()
            batch = self._open[key] = _Batch(loop)
            batch.timer = loop.call_later(LINGER_SECONDS, self._flush, key)
        batch.segments.append(Segment(host.host_id, host.team_id, received_ms, piece.lines, len(piece.body)))
        batch.pieces.append(piece.body)
        batch.size += len(piece.body)
        batch.lines += piece.lines
        if batch.size >= FLUSH_BYTES:
            self._flush(key)
        return batch.stored

    def _flush(self, key: tuple[LogType, int]) -> None:
        batch = self._open.pop(key)
        if batch.timer is not None:
            batch.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._send(key, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, key: tuple[LogType, int], batch: _Batch) -> None:
        manifest = msgspec.json.encode(Manifest(1, key[0], batch.segments))
        self._counters.backend_operations["publish"] += 1
        failure: FleetError = Unavailable("stopping")
        try:
            body = b"".join((manifest, b"\n", *batch.pieces))
            batch.pieces.clear()
            await self._publish(subject(*key), body, {LINES_HEADER: str(batch.lines)})
            batch.stored.set_result(None)
        except FleetError as error:
            failure = error
        finally:
            if not batch.stored.done():
                batch.stored.set_exception(failure)

    async def close(self) -> None:
        """Send what waits, and wait until it is stored or refused."""
        for key in list(self._open):
            self._flush(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)
