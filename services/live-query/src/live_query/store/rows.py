"""Rows of answers in Redis: at most one entry per campaign and host, decided by one script."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import msgspec
import redis.exceptions
from flotilla_common.bus import outage
from flotilla_common.contracts.redis_keys import campaign_rows, campaign_seen
from flotilla_common.errors import Unavailable
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from live_query.store.ledger import Entry

outage.register(
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.OutOfMemoryError,  # noeviction: answers wait until the archive has made room
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.NoPermissionError,  # somebody changed its users: no answer is to blame
    redis.exceptions.TryAgainError,
    redis.exceptions.NoScriptError,  # it was restarted between the loading of a script and its run
)

CANNOT_NOW = frozenset({"MISCONF", "NOREPLICAS", "BUSY"})
"""First words of errors for which redis-py has no class: the disk is full, replicas are gone, a script runs on."""
SHORT_ERROR = 200  # characters
LOOK_UP_AT_ONCE = 10_000
SOCKET_TIMEOUT_SECONDS = 3.0

# Returns {1, entry} for the host's first answer, {0, the first answer's entry} for any other, {-1} after the end.
KEEP = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then return {0, kept} end
if redis.call('HEXISTS', KEYS[1], '#end') == 1 then return {-1} end
local entry, rows, row_count, truncated, err = ARGV[2], ARGV[4], ARGV[5], ARGV[6], ARGV[9]
local total = tonumber(redis.call('HGET', KEYS[1], '#bytes') or '0') + #rows + #err
if total > tonumber(ARGV[7]) and (#rows > 2 or #err > #ARGV[12]) then
  if #rows > 2 then truncated = '1' end
  entry, rows, row_count, err = ARGV[3], '[]', '0', ARGV[12]
else
  redis.call('HSET', KEYS[1], '#bytes', total)
end
redis.call('HSET', KEYS[1], ARGV[1], entry)
redis.call('XADD', KEYS[2], '*', 'host', ARGV[1], 'outcome', ARGV[8], 'error', err, 'rows', rows,
  'row_count', row_count, 'truncated', truncated, 'stats', ARGV[10], 'settled_at', ARGV[11])
return {1, entry}
"""
# The end entry is a few bytes, and what lets an ended campaign be archived: a full Redis must take it.
END = """#!lua flags=allow-oom
if redis.call('HSETNX', KEYS[1], '#end', ARGV[1]) == 1 then
  redis.call('XADD', KEYS[2], '*', 'end', ARGV[1])
end
"""


@dataclass(frozen=True)
class Rows:
    """An entry with the rows that belong to it (a JSON array)."""

    entry: Entry
    rows: bytes


class ResultRows:
    """The rows of all campaigns; `campaign_limit_bytes` bounds those of one, with its errors.

    Beyond it rows are cut off, and errors to SHORT_ERROR characters.
    """

    def __init__(self, client: Redis, campaign_limit_bytes: int) -> None:
        self._redis = client
        self._limit = campaign_limit_bytes
        self._keep = client.register_script(KEEP)
        self._end = client.register_script(END)

    async def keep(self, answers: Sequence[Rows]) -> list[Entry]:
        """Keep each answer unless its host has one already; return the entries that count.

        A campaign whose end entry is written takes none: its ledger is closed.
        """
        if not answers:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for answer in answers:
                campaign_id = answer.entry.campaign_id
                keys = [campaign_seen(campaign_id), campaign_rows(campaign_id)]
                await self._keep(keys=keys, args=self._arguments(answer), client=pipe)
            with said_to_be_down():
                replies = await pipe.execute(raise_on_error=False)
                for failure in (reply for reply in replies if isinstance(reply, Exception)):
                    raise failure
        return [msgspec.json.decode(reply[1], type=Entry) for reply in replies if reply[0] >= 0]

    def _arguments(self, answer: Rows) -> list[bytes | str | int]:
        entry = answer.entry
        short = entry.error[:SHORT_ERROR]
        had_rows = len(answer.rows) > len(b"[]")
        cut = msgspec.structs.replace(entry, row_count=0, truncated=had_rows or entry.truncated, error=short)
        return [
            entry.host_id,
            msgspec.json.encode(entry),
            msgspec.json.encode(cut),
            answer.rows,
            entry.row_count,
            int(entry.truncated),
            self._limit,
            entry.outcome,
            entry.error,
            msgspec.json.encode(entry.stats),
            entry.settled_at.isoformat(),
            short,
        ]

    async def kept_for(self, campaign_id: int, host_ids: Sequence[int]) -> list[Entry]:
        """Return the entries that are kept for these hosts."""
        entries: list[Entry] = []
        for start in range(0, len(host_ids), LOOK_UP_AT_ONCE):
            names = [str(host_id) for host_id in host_ids[start : start + LOOK_UP_AT_ONCE]]
            with said_to_be_down():
                found = await cast(
                    "Awaitable[list[bytes | None]]", self._redis.hmget(campaign_seen(campaign_id), names)
                )
            entries += [msgspec.json.decode(entry, type=Entry) for entry in found if entry is not None]
        return entries

    async def end(self, reasons: Mapping[int, str]) -> None:
        """Add the last entry of each campaign, once: why it ended. The keys stay until the archive has all of it."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for campaign_id, reason in reasons.items():
                keys = [campaign_seen(campaign_id), campaign_rows(campaign_id)]
                await self._end(keys=keys, args=[reason], client=pipe)
            with said_to_be_down():
                await pipe.execute()

    @property
    def client(self) -> Redis:
        """The connections, for the archive (`hot_rows`)."""
        return self._redis

    async def check(self) -> str | None:
        """Readiness: does Redis answer?."""
        with said_to_be_down():
            await self._redis.ping()
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


@contextmanager
def said_to_be_down() -> Iterator[None]:
    """Turn a server's word that it cannot do this now into Unavailable: whoever asked waits."""
    try:
        yield
    except redis.exceptions.ResponseError as error:
        if str(error).partition(" ")[0] in CANNOT_NOW:
            raise Unavailable(f"Redis: {error}") from error
        raise


def connect(url: str) -> Redis:
    """Return a client that connects when needed; a broken connection is replaced once, then it is an outage."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=2.0,
        health_check_interval=15,
    )
