"""Log lines into custody: POSTs of many hosts share a message for a few milliseconds; each waits for its ack."""

from __future__ import annotations

from functools import partial

import msgspec
from flotilla_common.bus.bodies import Pieces, Publish
from flotilla_common.contracts.logs import LINES_HEADER, LogType, Manifest, Segment, subject
from flotilla_common.contracts.shards import any_shard

from agent_gateway.domain import patience
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.lines import MESSAGE_BYTES, Piece
from agent_gateway.domain.posts import Begun, Custody, Told
from agent_gateway.domain.seen import SeenHosts
from agent_gateway.domain.sharing import Load, Sharing

MESSAGES_AT_ONCE = 4  # of one POST
FLUSH_BYTES = 1024 * 1024  # some twenty POSTs: a message has its price, whatever is in it


class LogIntake:
    """Coalesces and publishes, all on one shard's subjects, so that one message has as many POSTs as can be.

    A host posts again only after its lines are in custody, so they keep their order by whichever process they come, but
    for what it sends again, since it was not told in time. `publish` returns once the stream has the message, or raises
    Unavailable.
    """

    def __init__(self, publish: Publish, counters: Counters, seen: SeenHosts) -> None:
        self._publish = publish
        self._counters = counters
        self._seen = seen
        self._shard = any_shard()
        self._sharing: Sharing[LogType, Segment] = Sharing(
            self._send, message_bytes=MESSAGE_BYTES, flush_bytes=FLUSH_BYTES
        )

    async def store(self, log_type: LogType, host: Host, pieces: list[Piece], received_ms: int) -> None:
        """Return once every line is in custody. A large POST goes out a few messages at a time, each a copy.

        Raises:
            Unavailable: not all of them are; the host keeps them all and comes again.

        """
        if len(pieces) <= 1:
            custody = Custody()
            count, note = self.begin(log_type, host, pieces, received_ms, custody.told)
            await custody.of(count)
        else:
            note = partial(self._note, log_type, pieces)
            async with patience.patience(patience.HAND_OVER_SECONDS, "custody"):
                for start in range(0, len(pieces), MESSAGES_AT_ONCE):
                    custody = Custody()
                    at_once = pieces[start : start + MESSAGES_AT_ONCE]
                    await custody.of(self._add(log_type, host, at_once, received_ms, custody.told))
        note()

    def begin(self, log_type: LogType, host: Host, pieces: list[Piece], received_ms: int, told: Told) -> Begun:
        """Hand over what goes out at once; `told` hears of each piece."""
        return self._add(log_type, host, pieces, received_ms, told), partial(self._note, log_type, pieces)

    def _note(self, log_type: LogType, pieces: list[Piece]) -> None:
        self._counters.lines[log_type] += sum(piece.lines for piece in pieces)

    async def close(self) -> None:
        """Send what waits, and wait until it is stored or refused."""
        await self._sharing.close()

    def _add(self, log_type: LogType, host: Host, pieces: list[Piece], received_ms: int, told: Told) -> int:
        for piece in pieces:
            segment = Segment(host.host_id, host.team_id, received_ms, piece.lines, len(piece.body))
            self._sharing.add(log_type, piece.body, segment, told)
        return len(pieces)

    async def _send(self, log_type: LogType, load: Load[Segment]) -> None:
        self._counters.backend_operations["publish"] += 1
        manifest = msgspec.json.encode(Manifest(1, log_type, load.notes))
        lines = sum(segment.lines for segment in load.notes)
        body = Pieces(manifest, b"\n", *load.pieces)
        load.pieces.clear()
        await self._publish(subject(log_type, self._shard), body, {LINES_HEADER: str(lines)})
        self._seen.have_logged(segment.host_id for segment in load.notes)
