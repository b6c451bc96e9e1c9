"""Stream RESULTS: answers of hosts to detail, label and policy queries. Published by agent-gateway, for inventory.

A message is a JSON array of batches, each what one `distributed/write` brought of one kind; what is too much for a
message comes in several.
"""

from __future__ import annotations

from typing import Literal

import msgspec

STREAM = "RESULTS"

ResultKind = Literal["detail", "label", "policy"]
RESULT_KINDS: tuple[ResultKind, ...] = ("detail", "label", "policy")


class QueryResult(msgspec.Struct, frozen=True):
    """One query's result. `rows` are the host's: a JSON array of objects with string values.

    `status` 0 = success; anything else says nothing about the host: a label or policy query that failed is neither a
    yes nor a no. `truncated` says that the host sent more rows than one message can carry.
    """

    name: str
    status: int
    message: str
    rows: msgspec.Raw
    stats: msgspec.Raw
    truncated: bool = False


class ResultBatch(msgspec.Struct, frozen=True):
    """What one `distributed/write` brought of one kind. It may come twice: a host repeats what it did not see taken."""

    v: int
    host_id: int
    team_id: int  # 0 = no team
    received_ms: int
    results: list[QueryResult]


def results_subject(kind: ResultKind, shard: int) -> str:
    """Return the subject of one shard's results."""
    return f"results.{kind}.v1.{shard}"
