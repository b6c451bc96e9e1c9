"""Bucket CAMPAIGNS: a command as long as its campaign runs, and who need not be asked any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import structlog
from flotilla_common.bus.buckets import Bucket, key_of
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.objects import Objects
from flotilla_common.contracts.bitmaps import bitmap_of, bytes_of
from flotilla_common.contracts.campaigns import (
    BUCKET,
    INLINE_BYTES,
    SWITCH_KEY,
    Released,
    command_key,
    done_hash_of,
    done_key,
    encode_done_hash,
    released_key,
    split_command,
)
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from flotilla_common.errors import Poison

log = structlog.get_logger()
_released = msgspec.json.Decoder(Released)


async def put(bucket: Bucket, campaign_id: int, command: bytes) -> None:
    """Tell gateways to ask. The bytes are always the same, so a repeat changes nothing."""
    await bucket.put(command_key(campaign_id), command)


async def withdraw(bucket: Bucket, campaign_id: int) -> None:
    """Tell gateways to ask no more."""
    await bucket.delete(command_key(campaign_id))


async def withdraw_all(bucket: Bucket, campaign_ids: Iterable[int]) -> None:
    """Tell gateways to ask for none of these any more."""
    await bucket.delete_all(map(command_key, campaign_ids))


async def remove_sets(bucket: Bucket, campaign_ids: Iterable[int]) -> None:
    """Remove who is settled and who is released of these."""
    await bucket.delete_all(key(campaign_id) for campaign_id in campaign_ids for key in (done_key, released_key))


async def put_done(bucket: Bucket, objects: Objects, campaign_id: int, host_ids: list[int]) -> bool:
    """Tell gateways which hosts are settled; return whether the set was so large that it is in the object store."""
    value = bytes_of(host_ids)
    is_large = len(value) > INLINE_BYTES
    await bucket.put(done_key(campaign_id), encode_done_hash(await objects.put(value)) if is_large else value)
    return is_large


async def repeat_done(bucket: Bucket, campaign_id: int) -> None:
    """Tell gateways again which hosts are settled: an hour after a command went they have forgotten."""
    value = await bucket.get(done_key(campaign_id))
    if value is not None:
        await bucket.put(done_key(campaign_id), value)


async def done_count(bucket: Bucket, objects: Objects, campaign_id: int) -> int:
    """Return how many settled hosts gateways have been told of. A set that makes no sense told them of none."""
    value = await bucket.get(done_key(campaign_id))
    name = None if value is None else done_hash_of(value)
    if name is not None:
        value = await objects.get(name)
    try:
        return 0 if value is None else len(bitmap_of(value))
    except ValueError as error:
        log.warning("a done set makes no sense", campaign_id=campaign_id, error=str(error))
        return 0


async def done_objects(bucket: Bucket, campaign_ids: Iterable[int]) -> set[str]:
    """Return the objects that the bucket names as sets of settled hosts."""
    values = [await bucket.get(done_key(campaign_id)) for campaign_id in campaign_ids]
    return {name for value in values if value is not None and (name := done_hash_of(value)) is not None}


async def remove_done(bucket: Bucket, campaign_id: int) -> None:
    """Remove the set of settled hosts."""
    await bucket.delete(done_key(campaign_id))


async def put_released(bucket: Bucket, campaign_id: int, value: bytes) -> None:
    """Tell gateways whom a ramped campaign may ask by now."""
    await bucket.put(released_key(campaign_id), value)


async def repeat_released(bucket: Bucket, campaign_id: int) -> None:
    """Tell them again: as `repeat_done`."""
    value = await bucket.get(released_key(campaign_id))
    if value is not None:
        await bucket.put(released_key(campaign_id), value)


async def remove_released(bucket: Bucket, campaign_id: int) -> None:
    """Remove the set of released hosts."""
    await bucket.delete(released_key(campaign_id))


async def released_objects(bucket: Bucket, campaign_ids: Iterable[int]) -> set[str]:
    """Return the objects that the bucket names as sets of released hosts; whoever signed them, they are kept."""
    names: set[str] = set()
    for campaign_id in campaign_ids:
        value = await bucket.get(released_key(campaign_id))
        try:
            found = None if value is None else _released.decode(split_command(value)[1])
        except (Poison, msgspec.DecodeError) as error:
            log.warning("a released set makes no sense", campaign_id=campaign_id, error=str(error))
            continue
        if found is not None and found.hosts_hash:
            names.add(found.hosts_hash)
    return names


@dataclass(frozen=True)
class Contents:
    """Which campaigns the bucket has a command of, a set of settled hosts, a set of released ones."""

    commands: frozenset[int]
    done: frozenset[int]
    released: frozenset[int]


async def contents(bucket: Bucket) -> Contents:
    """List the bucket."""
    names = [name.partition(".") for name in await bucket.keys() if name != SWITCH_KEY]
    kinds = ("command", "done", "released")
    ids = (frozenset(int(number) for number, _, what in names if what == kind) for kind in kinds)
    return Contents(*ids)


async def traces(bus: Bus) -> set[int]:
    """Return the campaigns of which the bucket holds anything: a deleted key leaves a word that it was deleted."""
    info = await bus.js.stream_info(bucket_stream(BUCKET), subjects_filter=">")
    keys = [key_of(subject) for subject in info.state.subjects or ()]
    return {int(key.partition(".")[0]) for key in keys if key != SWITCH_KEY}


async def wipe(bus: Bus, campaign_id: int) -> None:
    """Remove even that word, so that a gateway that starts need not read of every campaign there ever was."""
    for key in (command_key(campaign_id), done_key(campaign_id), released_key(campaign_id)):
        await bus.js.purge_stream(bucket_stream(BUCKET), subject=bucket_subject(BUCKET, key))
