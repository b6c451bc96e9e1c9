"""Bucket PLANS: heads by class, configs and orbit's parts by hash, each there before any head that names it."""

from __future__ import annotations

from dataclasses import dataclass

from flotilla_common.bus.buckets import Bucket
from flotilla_common.contracts.plans import PlanHead, config_key, head_key, orbit_key
from flotilla_common.errors import Unavailable
from pydantic import ValidationError

ATTEMPTS = 10


async def announce(bucket: Bucket, head: PlanHead, config: bytes, orbit: bytes | None = None) -> bool:
    """Put the bytes, then the head unless a newer one is there; True when the bucket lacked any of it."""
    was_new = await _put_if_missing(bucket, config_key(head.config_sha256), config)
    if orbit is not None:
        was_new |= await _put_if_missing(bucket, orbit_key(head.orbit_sha256), orbit)
    return await _put_unless_newer(bucket, head) or was_new


async def _put_if_missing(bucket: Bucket, key: str, body: bytes) -> bool:
    if await bucket.get(key) is not None:
        return False
    await bucket.put(key, body)
    return True


async def renew(bucket: Bucket, head: PlanHead) -> bool:
    """Replace a head of the same revision that says something else: an older release wrote it."""
    entry = await bucket.entry(head_key(head.class_key))
    if entry is None or _revision(entry[0]) != head.revision:
        return False  # not ours to put: its config may not be there yet
    return await _put_unless_newer(bucket, head)


async def _put_unless_newer(bucket: Bucket, head: PlanHead) -> bool:
    key, body = head_key(head.class_key), head.model_dump_json().encode()
    for _ in range(ATTEMPTS):
        entry = await bucket.entry(key)
        if entry is not None and (entry[0] == body or _revision(entry[0]) > head.revision):
            return False
        if await bucket.replace(key, body, 0 if entry is None else entry[1]):
            return True
    raise Unavailable(f"{key} changes all the time")


def _revision(body: bytes) -> int:
    """Return a stored head's revision; -1 for what is none, so that it is replaced."""
    try:
        return PlanHead.model_validate_json(body).revision
    except ValidationError:
        return -1


async def remove(bucket: Bucket, class_key: str) -> None:
    """Remove the head of a class; gateways ask again if it ever comes back."""
    await bucket.delete(head_key(class_key))


@dataclass(frozen=True)
class Contents:
    """What the bucket holds: keys of classes, hashes of configs and of orbit's parts."""

    heads: frozenset[str]
    configs: frozenset[str]
    orbits: frozenset[str]


async def contents(bucket: Bucket) -> Contents:
    """List the bucket."""
    names = [name.partition(".") for name in await bucket.keys()]
    return Contents(
        *(frozenset(rest for kind, _, rest in names if kind == wanted) for wanted in ("head", "config", "orbit"))
    )


async def remove_config(bucket: Bucket, sha256: str) -> None:
    """Remove a config."""
    await bucket.delete(config_key(sha256))


async def put_config(bucket: Bucket, sha256: str, config: bytes) -> None:
    """Put a config back."""
    await bucket.put(config_key(sha256), config)


async def remove_orbit(bucket: Bucket, sha256: str) -> None:
    """Remove a part for orbit."""
    await bucket.delete(orbit_key(sha256))


async def put_orbit(bucket: Bucket, sha256: str, orbit: bytes) -> None:
    """Put a part for orbit back."""
    await bucket.put(orbit_key(sha256), orbit)
