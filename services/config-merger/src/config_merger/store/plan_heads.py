"""Bucket PLANS: heads by class, configs by hash. A config is there before any head that names it."""

from __future__ import annotations

from dataclasses import dataclass

from flotilla_common.bus.buckets import Bucket
from flotilla_common.contracts.plans import PlanHead, config_key, head_key
from flotilla_common.errors import Unavailable
from pydantic import ValidationError

ATTEMPTS = 10


async def announce(bucket: Bucket, head: PlanHead, config: bytes) -> bool:
    """Put the config, then the head unless a newer one is there; True when the bucket lacked one of them."""
    blob = config_key(head.config_sha256)
    had_config = await bucket.get(blob) is not None
    if not had_config:
        await bucket.put(blob, config)
    return await _put_unless_newer(bucket, head) or not had_config


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
    """What the bucket holds: keys of classes, hashes of configs."""

    heads: frozenset[str]
    configs: frozenset[str]


async def contents(bucket: Bucket) -> Contents:
    """List the bucket."""
    names = [name.partition(".") for name in await bucket.keys()]
    heads = frozenset(rest for kind, _, rest in names if kind == "head")
    return Contents(heads, frozenset(rest for kind, _, rest in names if kind == "config"))


async def remove_config(bucket: Bucket, sha256: str) -> None:
    """Remove a config."""
    await bucket.delete(config_key(sha256))


async def put_config(bucket: Bucket, sha256: str, config: bytes) -> None:
    """Put a config back."""
    await bucket.put(config_key(sha256), config)
