"""Reads of a campaign's answers in Redis: a viewer is a cursor on the stream that live-query writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flotilla_common.contracts.redis_keys import campaign_rows
from flotilla_common.errors import Unavailable
from redis.asyncio import Redis
from redis.exceptions import RedisError

START = "0-0"
MOST_ENTRIES = 8  # an entry holds all rows of one host, megabytes at worst: few are in memory for a viewer at any time
MOST_GATHERED = 256
GATHERED_BYTES = 256 * 1024  # of rows, as in a row group of the archive
LONGEST_BLOCK_MS = 2_000  # below the client's socket time-out
_POSITION = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")


@dataclass(frozen=True)
class MissingAnswers:
    """Answers that nobody can read any more: those behind `after`, up to `last`; `answers` of them at most.

    `reason`: `damaged`, or `missing` when the blob store has no such object.
    """

    after: str
    last: str
    answers: int
    reason: str


@dataclass(frozen=True)
class RowsEntry:
    """One host's answer, or (`is_end`) the word that nothing follows. `rows`, `stats`: JSON from live-query.

    `settled_at`: ISO 8601. `is_archived`: it comes from the archive, where more may follow. `missing`: it is no answer,
    but the word that answers are lost; `position` is the last one's.
    """

    position: str
    is_end: bool = False
    host_id: int = 0
    outcome: str = ""
    error: str = ""
    rows: bytes = b"[]"
    stats: bytes = b"null"
    settled_at: str = ""
    is_archived: bool = False
    missing: MissingAnswers | None = None


async def check(redis: Redis) -> None:
    """Make sure that the store of results is there.

    Raises:
        Unavailable: it does not answer.

    """
    try:
        await redis.ping()
    except RedisError as error:
        raise Unavailable(f"result store: {error!r}") from error


def is_position(text: str) -> bool:
    """Whether a text can be a place in the stream."""
    return _POSITION.fullmatch(text) is not None


async def has(redis: Redis, campaign_id: int, position: str) -> bool:
    """Whether the stream has an entry at a position.

    Raises:
        Unavailable: Redis does not answer.

    """
    if position == START:
        return False
    try:
        return bool(await redis.xrange(campaign_rows(campaign_id), position, position, count=1))
    except RedisError as error:
        raise Unavailable(f"campaign rows: {error!r}") from error


async def read(
    redis: Redis, campaign_id: int, after: str, *, block_ms: int | None, count: int = MOST_ENTRIES
) -> list[RowsEntry]:
    """Return the next entries behind a position; waits up to `block_ms` (2 s at most) for the first one, None: not.

    Raises:
        Unavailable: Redis does not answer; nothing is lost, the same position can be read later.

    """
    key = campaign_rows(campaign_id)
    block = None if block_ms is None else min(max(block_ms, 1), LONGEST_BLOCK_MS)
    try:
        answer = await redis.xread({key: after}, count=count, block=block)
    except RedisError as error:
        raise Unavailable(f"campaign rows: {error!r}") from error
    return [entry_of(position, fields) for _, entries in _streams(answer) for position, fields in entries]


async def gather(redis: Redis, campaign_id: int, after: str, *, block_ms: int, count: int) -> list[RowsEntry]:
    """Read as `read` does, and go on without waiting while small answers come, MOST_ENTRIES at a time.

    In memory are GATHERED_BYTES and one read more at most. What is done for all answers of a read, done for eight of
    them, cost more than the answers.
    """
    found = part = await read(redis, campaign_id, after, block_ms=block_ms, count=count)
    while len(part) == count and not is_full(found, count):
        part = await read(redis, campaign_id, found[-1].position, block_ms=None, count=count)
        found = found + part
    return found


def is_full(entries: Sequence[RowsEntry], count: int) -> bool:
    """Whether so many were read, `count` at a time, that `gather` stops though more may be there."""
    if count < MOST_ENTRIES:
        return len(entries) >= count
    return len(entries) >= MOST_GATHERED or sum(len(entry.rows) for entry in entries) >= GATHERED_BYTES


def _streams(answer: Any) -> list[tuple[Any, Any]]:
    if isinstance(answer, dict):  # the third version of Redis' protocol
        return [(key, entry) for key, lists in answer.items() for entry in lists]
    return list(answer or [])


def entry_of(position: Any, fields: Mapping[Any, Any], *, archived: bool = False) -> RowsEntry:
    """Read an entry's fields, as the stream has them."""
    values = {_text(name): _bytes(value) for name, value in fields.items()}
    place = _text(position)
    if "end" in values:
        return RowsEntry(place, is_end=True)
    return RowsEntry(
        place,
        host_id=int(values.get("host", b"0")),
        outcome=_text(values.get("outcome", b"")),
        error=_text(values.get("error", b"")),
        rows=values.get("rows") or b"[]",
        stats=values.get("stats") or b"null",
        settled_at=_text(values.get("settled_at", b"")),
        is_archived=archived,
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
