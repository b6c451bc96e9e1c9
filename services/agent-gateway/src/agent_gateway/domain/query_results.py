"""Results of detail, label and policy queries: into stream RESULTS, by kind, those of one shard's hosts together."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from flotilla_common.bus.bodies import Publish
from flotilla_common.contracts.results import QueryResult, ResultBatch, ResultKind, results_subject
from flotilla_common.contracts.shards import shard_of

from agent_gateway.domain.answers import ARRAY_BYTES, MESSAGE_BYTES, array_of, cut_rows
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.posts import Told
from agent_gateway.domain.results import Result
from agent_gateway.domain.sharing import Load, Sharing

ByKind = dict[ResultKind, list[QueryResult]]


class QueryResults:
    """Publishes batches of results into custody."""

    def __init__(self, publish: Publish, counters: Counters) -> None:
        self._publish = publish
        self._counters = counters
        self._sharing: Sharing[tuple[ResultKind, int], None] = Sharing(self._send, message_bytes=ARRAY_BYTES)

    def hand_over(self, host: Host, by_kind: ByKind, received_ms: int, told: Told) -> int:
        """Put results into custody, and return of how many pieces `told` will hear."""
        shard, pieces = shard_of(host.host_id), 0
        for kind, results in by_kind.items():
            for part in _split(results):
                batch = ResultBatch(1, host.host_id, host.team_id, received_ms, part)
                self._sharing.add((kind, shard), msgspec.json.encode(batch), None, told)
                pieces += 1
        return pieces

    def stored(self, by_kind: ByKind) -> None:
        """Count what is in custody."""
        for kind, results in by_kind.items():
            self._counters.results[kind] += len(results)

    async def close(self) -> None:
        """Send what waits, and wait until it is stored or refused."""
        await self._sharing.close()

    async def _send(self, key: tuple[ResultKind, int], load: Load[None]) -> None:
        self._counters.backend_operations["publish"] += 1
        await self._publish(results_subject(*key), array_of(load.pieces), None)


def query_result(result: Result) -> QueryResult:
    """Return a result as it goes to inventory; rows beyond what one message can carry are cut off."""
    rows, truncated = cut_rows(result.rows, MESSAGE_BYTES)
    return QueryResult(
        result.name,
        result.status,
        result.message,
        msgspec.Raw(rows),
        msgspec.Raw(result.stats),
        truncated=truncated or result.truncated,
    )


def _split(results: list[QueryResult]) -> Iterator[list[QueryResult]]:
    """Cut a list so that each part fits into one message."""
    part: list[QueryResult] = []
    size = 0
    for result in results:
        texts = len(result.message) + len(result.name)
        weight = len(bytes(result.rows)) + len(bytes(result.stats)) + 6 * texts + 128
        if part and size + weight > MESSAGE_BYTES:
            yield part
            part, size = [], 0
        part.append(result)
        size += weight
    yield part
