"""Answers to campaigns: into stream ANSWERS, those of all hosts of this process together."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from flotilla_common.bus.bodies import Pieces, Publish
from flotilla_common.contracts.campaigns import AnswerBatch, CampaignAnswer, answers_subject
from flotilla_common.contracts.shards import any_shard
from flotilla_common.contracts.streams import MAX_PAYLOAD_BYTES

from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.posts import Told
from agent_gateway.domain.results import Result
from agent_gateway.domain.sharing import Load, Sharing

MESSAGE_BYTES = MAX_PAYLOAD_BYTES - 256 * 1024  # rows in one message; the rest is for names, texts and headers
ARRAY_BYTES = MAX_PAYLOAD_BYTES - 64 * 1024  # of one message's body; the rest is for headers

_encode = msgspec.json.Encoder().encode
_lines_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class Answers:
    """Publishes batches of answers into custody, all on one shard's subject, so that one message has as many as can be.

    Nothing depends on the order of two hosts, and a host's own answers come one after another.
    """

    def __init__(self, publish: Publish, counters: Counters) -> None:
        self._publish = publish
        self._counters = counters
        self._shard = any_shard()
        self._sharing: Sharing[int, None] = Sharing(self._send, message_bytes=ARRAY_BYTES, at_once=True)

    def hand_over(
        self, host: Host, answer: CampaignAnswer, received_ms: int, told: Told, trace_parent: str = ""
    ) -> None:
        """Put an answer into custody, as one piece. `trace_parent` (W3C) goes along: whose trace it goes on."""
        batch = AnswerBatch(1, host.host_id, host.team_id, received_ms, [answer], trace_parent)
        self._sharing.add(self._shard, _encode(batch), None, told)

    async def close(self) -> None:
        """Send what waits, and wait until it is stored or refused."""
        await self._sharing.close()

    async def _send(self, shard: int, load: Load[None]) -> None:
        self._counters.backend_operations["publish"] += 1
        await self._publish(answers_subject(shard), array_of(load.pieces), None)


def array_of(pieces: Iterable[bytes]) -> Pieces:
    """Return a JSON array of what is JSON already."""
    return Pieces(b"[", b",".join(pieces), b"]")


def answer_of(campaign_id: int, attempt: int, offered_ms: int, result: Result) -> CampaignAnswer:
    """Return a result as it goes to live-query; rows beyond what one message can carry are cut off."""
    rows, truncated = cut_rows(result.rows, MESSAGE_BYTES)
    return CampaignAnswer(
        campaign_id,
        attempt,
        result.status,
        result.message,
        msgspec.Raw(rows),
        msgspec.Raw(result.stats),
        truncated=truncated or result.truncated,
        offered_ms=offered_ms,
    )


def cut_rows(rows: bytes, limit: int) -> tuple[bytes, bool]:
    """Return as many whole rows as fit into `limit` bytes, and whether some did not."""
    if len(rows) <= limit:
        return rows, False
    kept: list[bytes] = []
    size = 2
    for row in map(bytes, _lines_decoder.decode(rows)):
        size += len(row) + 1
        if size > limit:
            break
        kept.append(row)
    return b"[" + b",".join(kept) + b"]", True
