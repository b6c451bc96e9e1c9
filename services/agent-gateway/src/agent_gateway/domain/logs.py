"""Log lines into custody: POSTs of one shard share a message for a few milliseconds; each waits for its ack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from flotilla_common.contracts.logs import LINES_HEADER, LogType, Manifest, Segment, subject
from flotilla_common.contracts.shards import shard_of

from agent_gateway.domain import patience
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.lines import MESSAGE_BYTES, Piece
from agent_gateway.domain.posts import Begun
from agent_gateway.domain.seen import SeenHosts
from agent_gateway.domain.sharing import Load, Sharing, all_of

MESSAGES_AT_ONCE = 4  # of one POST

Publish = Callable[[str, bytes, dict[str, str] | None], Awaitable[int]]


class LogIntake:
    """Coalesces and publishes. `publish` returns once the stream has the message, or raises Unavailable."""

    def __init__(self, publish: Publish, counters: Counters, seen: SeenHosts) -> None:
        self._publish = publish
        self._counters = counters
        self._seen = seen
        self._sharing: Sharing[tuple[LogType, int], Segment] = Sharing(self._send, message_bytes=MESSAGE_BYTES)

    async def store(self, log_type: LogType, host: Host, pieces: list[Piece], received_ms: int) -> None:
        """Return once every line is in custody. A large POST goes out a few messages at a time, each a copy.

        Raises:
            Unavailable: not all of them are; the host keeps them all and comes again.

        """
        if len(pieces) <= 1:
            futures, note = self.begin(log_type, host, pieces, received_ms)
            await all_of(futures)
        else:
            note = partial(self._note, log_type, pieces)
            async with patience.patience(patience.HAND_OVER_SECONDS, "custody"):
                for start in range(0, len(pieces), MESSAGES_AT_ONCE):
                    at_once = pieces[start : start + MESSAGES_AT_ONCE]
                    await all_of([self._add(log_type, host, piece, received_ms) for piece in at_once])
        note()

    def begin(self, log_type: LogType, host: Host, pieces: list[Piece], received_ms: int) -> Begun:
        """Hand over what goes out at once; the futures fail as those of `Sharing` do."""
        futures = [self._add(log_type, host, piece, received_ms) for piece in pieces]
        return futures, partial(self._note, log_type, pieces)

    def _note(self, log_type: LogType, pieces: list[Piece]) -> None:
        self._counters.lines[log_type] += sum(piece.lines for piece in pieces)

    async def close(self) -> None:
        """Send what waits, and wait until it is stored or refused."""
        await self._sharing.close()

    def _add(self, log_type: LogType, host: Host, piece: Piece, received_ms: int) -> asyncio.Future[None]:
        segment = Segment(host.host_id, host.team_id, received_ms, piece.lines, len(piece.body))
        return self._sharing.add((log_type, shard_of(host.host_id)), piece.body, segment)

    async def _send(self, key: tuple[LogType, int], load: Load[Segment]) -> None:
        self._counters.backend_operations["publish"] += 1
        manifest = msgspec.json.encode(Manifest(1, key[0], load.notes))
        lines = sum(segment.lines for segment in load.notes)
        body = b"".join((manifest, b"\n", *load.pieces))
        load.pieces.clear()
        await self._publish(subject(*key), body, {LINES_HEADER: str(lines)})
        self._seen.have_logged(segment.host_id for segment in load.notes)
