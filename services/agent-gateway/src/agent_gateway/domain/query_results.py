"""Results of detail, label and policy queries: into stream RESULTS, one message per kind and write unless too large."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from flotilla_common.contracts.results import QueryResult, ResultBatch, ResultKind, results_subject
from flotilla_common.contracts.shards import shard_of

from agent_gateway.domain.answers import MESSAGE_BYTES, cut_rows, split
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.hosts import Host
from agent_gateway.domain.results import Result

Publish = Callable[[str, bytes, dict[str, str] | None], Awaitable[int]]
ByKind = dict[ResultKind, list[QueryResult]]


class QueryResults:
    """Publishes batches of results into custody."""

    def __init__(self, publish: Publish, counters: Counters) -> None:
        self._publish = publish
        self._counters = counters

    async def hand_over(self, host: Host, by_kind: ByKind, received_ms: int) -> None:
        """Return once the stream has all of them.

        Raises:
            Unavailable: not all are in custody; the host keeps them and comes again.

        """
        shard = shard_of(host.host_id)
        messages = [
            (results_subject(kind, shard), ResultBatch(1, host.host_id, host.team_id, received_ms, part))
            for kind, results in by_kind.items()
            for part in split(results)
        ]
        self._counters.backend_operations["publish"] += len(messages)
        await asyncio.gather(*(self._publish(subject, msgspec.json.encode(one), None) for subject, one in messages))
        for kind, results in by_kind.items():
            self._counters.results[kind] += len(results)


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
