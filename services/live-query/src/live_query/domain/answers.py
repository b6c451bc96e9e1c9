"""What one host's answer comes to: its outcome for the ledger, and as many of its rows as are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from flotilla_common.contracts.campaigns import CampaignAnswer

from live_query.domain.campaigns import plain_text
from live_query.store.ledger import Entry

NO_ROWS = b"[]"
ERROR_LIMIT = 8192  # characters
STATS = ("wall_time_ms", "user_time", "system_time", "memory")
DENYLISTED = "denylisted"
"""osqueryd says `distributed query is denylisted` (osquery 5.16, osquery/distributed/distributed.cpp)."""

_rows_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_stats_decoder = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True)
class Limits:
    """How much is kept of one host's answer."""

    rows: int
    rows_bytes: int


@dataclass(frozen=True)
class KeptRows:
    """A JSON array of whole rows, how many they are, whether there were more, and how many came."""

    json: bytes = NO_ROWS
    count: int = 0
    truncated: bool = False
    sent: int = 0


def interpret(host_id: int, answer: CampaignAnswer, limits: Limits, *, settled_at: datetime) -> tuple[Entry, bytes]:
    """Return the ledger's entry of an answer and the rows that go with it.

    A status other than 0 is a failure whether or not the host says why; its rows, if any, mean nothing.
    """
    stats = stats_of(bytes(answer.stats))
    if answer.status != 0:
        error = plain_text(answer.message, ERROR_LIMIT) or f"query failed with status {answer.status}"
        outcome = "denylisted" if DENYLISTED in error else "failed"
        return Entry(answer.campaign_id, host_id, outcome, settled_at, error=error, stats=stats), NO_ROWS  # type: ignore[arg-type]
    sent = bytes(answer.rows)
    kept = cut(sent, limits)
    truncated = kept.truncated or answer.truncated
    entry = Entry(answer.campaign_id, host_id, "answered", settled_at, kept.count, truncated, stats=stats)
    return msgspec.structs.replace(entry, sent_rows=kept.sent, sent_bytes=len(sent)), kept.json


def cut(rows: bytes, limits: Limits) -> KeptRows:
    """Keep whole rows from the beginning, as far as both limits reach."""
    found = _rows_decoder.decode(rows)
    if len(rows) <= limits.rows_bytes and len(found) <= limits.rows:
        return KeptRows(rows, len(found), sent=len(found))
    kept: list[bytes] = []
    size = len(NO_ROWS)
    for row in map(bytes, found[: limits.rows]):
        size += len(row) + 1
        if size > limits.rows_bytes:
            break
        kept.append(row)
    return KeptRows(b"[" + b",".join(kept) + b"]", len(kept), truncated=True, sent=len(found))


def stats_of(text: bytes) -> dict[str, float] | None:
    """Return the numbers among a host's statistics, None when it measured nothing."""
    try:
        found = _stats_decoder.decode(text)
    except msgspec.DecodeError:
        return None
    return {name: found[name] for name in STATS if _is_number(found.get(name))} or None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e18
