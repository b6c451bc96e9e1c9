"""The front of campaigns' streams in Redis: read to be archived, cut off once it is.

Nothing here needs memory in Redis: these commands go through while writes fail with OOM.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from flotilla_common.campaign_archive import ENTRY_BYTES, Position, StreamEntry
from flotilla_common.contracts.redis_keys import campaign_rows, campaign_seen
from redis.asyncio import Redis

from live_query.store.rows import said_to_be_down

READ_BYTES = 1024 * 1024  # in one call; then the entry that reaches it is the last
READ_ENTRIES = 512
SAMPLES = 20
SIZES_AT_ONCE = 500  # campaigns
FIELDS_AT_ONCE = 1000
UNKNOWN_SECONDS = 24 * 3600

# Returns entries behind ARGV[1] until so many bytes or entries are read.
OLDEST = """
local found, after, size = {}, ARGV[1], 0
for _ = 1, tonumber(ARGV[3]) do
  local entry = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', 1)[1]
  if not entry then break end
  found[#found + 1] = entry
  after = entry[1]
  size = size + tonumber(ARGV[4])
  for place = 2, #entry[2], 2 do size = size + #entry[2][place] end
  if size >= tonumber(ARGV[2]) then break end
end
return found
"""


class HotRows:
    """What is in Redis of all campaigns. Raises what `outage.kinds()` lists when Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._oldest = client.register_script(OLDEST)

    async def fullness(self) -> float:
        """Return how much of Redis' memory is used, 0 to 1; 0 when it has no limit."""
        with said_to_be_down():
            found = await self._redis.info("memory")
        limit = int(found.get("maxmemory", 0))
        return int(found["used_memory"]) / limit if limit else 0.0

    async def sizes(self, campaign_ids: Collection[int]) -> dict[int, int]:
        """Return about how many bytes of memory each campaign takes, stream and ledger; 0 for those that have none."""
        ids = sorted(campaign_ids)
        sizes: dict[int, int] = {}
        for at in range(0, len(ids), SIZES_AT_ONCE):
            some = ids[at : at + SIZES_AT_ONCE]
            async with self._redis.pipeline(transaction=False) as pipe:
                for campaign_id in some:
                    pipe.memory_usage(campaign_rows(campaign_id), samples=SAMPLES)
                    pipe.memory_usage(campaign_seen(campaign_id), samples=SAMPLES)
                with said_to_be_down():
                    found = [size or 0 for size in await pipe.execute()]
            sizes |= {one: rows + seen for one, rows, seen in zip(some, found[::2], found[1::2], strict=True)}
        return sizes

    async def oldest(self, campaign_id: int, after: Position, limit_bytes: int) -> list[StreamEntry]:
        """Return a campaign's entries behind a position, until there are so many bytes of them; not the end entry."""
        entries: list[StreamEntry] = []
        left = limit_bytes
        while left > 0:
            with said_to_be_down():
                found = await self._oldest(
                    keys=[campaign_rows(campaign_id)],
                    args=[str(after), min(left, READ_BYTES), READ_ENTRIES, ENTRY_BYTES],
                )
            for place, fields in found:
                entry = StreamEntry(Position.parse(place.decode()), dict(zip(fields[::2], fields[1::2], strict=True)))
                after = entry.position
                if b"end" not in entry.fields:
                    entries.append(entry)
                    left -= entry.size
            if not found:
                break
        return entries

    async def cut(self, campaign_id: int, last: Position) -> None:
        """Remove the entries up to a position, which is included."""
        following = Position(last.milliseconds, last.number + 1)
        with said_to_be_down():
            await self._redis.xtrim(campaign_rows(campaign_id), minid=str(following), approximate=False)

    async def forget_hosts(self, campaign_id: int, host_ids: Sequence[int]) -> None:
        """Remove the ledger entries of hosts whose answers are archived and settled."""
        for start in range(0, len(host_ids), FIELDS_AT_ONCE):
            names = [str(host_id) for host_id in host_ids[start : start + FIELDS_AT_ONCE]]
            with said_to_be_down():
                await self._redis.hdel(campaign_seen(campaign_id), *names)

    async def remove(self, campaign_id: int) -> None:
        """Remove all that is in Redis of a campaign."""
        with said_to_be_down():
            await self._redis.unlink(campaign_rows(campaign_id), campaign_seen(campaign_id))

    async def let_expire(self, campaign_id: int) -> None:
        """Let all that is in Redis of a campaign go in a day, unless that was said before."""
        with said_to_be_down():
            for key in (campaign_rows(campaign_id), campaign_seen(campaign_id)):
                await self._redis.expire(key, UNKNOWN_SECONDS, nx=True)

    async def held(self, cursor: int) -> tuple[int, set[int]]:
        """Return the next cursor (0: there is no more) and some campaigns that have keys, by SCAN."""
        with said_to_be_down():
            found: Any = await self._redis.scan(cursor, match="campaign:{*}:*", count=1000)
        following, keys = found
        ids = (key.split(b"{", 1)[1].split(b"}", 1)[0] for key in keys)
        return int(following), {int(number) for number in ids if number.isdigit()}
