"""The login rate limit in Redis: one bucket for everybody, shared by all replicas."""

from __future__ import annotations

import math

from flotilla_common.contracts.redis_keys import login_attempts
from flotilla_common.errors import Unavailable
from redis.asyncio import Redis
from redis.exceptions import RedisError

from admin_api.errors import LimitExceeded

# Generic cell rate algorithm: the key holds the time at which the bucket is empty again. COUNT attempts may come at
# once, then one every SECONDS / COUNT.
# The one key of a bucket is a few bytes and expires by itself: a Redis that is full of rows must take it, or nobody
# could log in and look.
SCRIPT = """#!lua flags=allow-oom
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local interval, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = empty_at + interval - count * interval - now
if wait > 0.000001 then return string.format('%.6f', wait) end
local later = empty_at + interval
redis.call('SET', KEYS[1], string.format('%.6f', later), 'PX', math.ceil((later - now) * 1000))
return '0'
"""


async def take(redis: Redis, rate: tuple[int, int], bucket: str = "shared") -> None:
    """Count an attempt.

    Raises:
        LimitExceeded: too many in (count, seconds).
        Unavailable: Redis does not answer; without the limit nobody may guess.

    """
    count, seconds = rate
    try:
        wait = await redis.eval(SCRIPT, 1, login_attempts(bucket), str(seconds / count), str(count))
    except RedisError as error:
        raise Unavailable(f"redis: {error!r}") from error
    if float(wait) > 0:
        raise LimitExceeded(math.ceil(float(wait)))
