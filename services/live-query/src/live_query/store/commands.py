"""Bucket CAMPAIGNS: a command as long as its campaign runs, and who need not be asked any more."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from flotilla_common.bus.buckets import Bucket, key_of
from flotilla_common.bus.connection import Bus
from flotilla_common.contracts.bitmaps import bitmap_of
from flotilla_common.contracts.campaigns import BUCKET, command_key, done_key
from flotilla_common.contracts.streams import bucket_stream, bucket_subject
from pyroaring import BitMap

log = structlog.get_logger()


async def put(bucket: Bucket, campaign_id: int, command: bytes) -> None:
    """Tell gateways to ask. The bytes are always the same, so a repeat changes nothing."""
    await bucket.put(command_key(campaign_id), command)


async def withdraw(bucket: Bucket, campaign_id: int) -> None:
    """Tell gateways to ask no more."""
    await bucket.delete(command_key(campaign_id))


async def put_done(bucket: Bucket, campaign_id: int, host_ids: list[int]) -> None:
    """Tell gateways which hosts are settled."""
    bitmap = BitMap(host_ids)
    bitmap.run_optimize()
    await bucket.put(done_key(campaign_id), bitmap.serialize())


async def done_count(bucket: Bucket, campaign_id: int) -> int:
    """Return how many settled hosts gateways have been told of. A set that makes no sense told them of none."""
    value = await bucket.get(done_key(campaign_id))
    try:
        return 0 if value is None else len(bitmap_of(value))
    except ValueError as error:
        log.warning("a done set makes no sense", campaign_id=campaign_id, error=str(error))
        return 0


async def remove_done(bucket: Bucket, campaign_id: int) -> None:
    """Remove the set of settled hosts."""
    await bucket.delete(done_key(campaign_id))


@dataclass(frozen=True)
class Contents:
    """Which campaigns the bucket has a command of, and which a set of settled hosts."""

    commands: frozenset[int]
    done: frozenset[int]


async def contents(bucket: Bucket) -> Contents:
    """List the bucket."""
    names = [name.partition(".") for name in await bucket.keys()]
    ids = {kind: frozenset(int(number) for number, _, what in names if what == kind) for kind in ("command", "done")}
    return Contents(ids["command"], ids["done"])


async def traces(bus: Bus) -> set[int]:
    """Return the campaigns of which the bucket holds anything: a deleted key leaves a word that it was deleted."""
    info = await bus.js.stream_info(bucket_stream(BUCKET), subjects_filter=">")
    return {int(key_of(subject).partition(".")[0]) for subject in info.state.subjects or ()}


async def wipe(bus: Bus, campaign_id: int) -> None:
    """Remove even that word, so that a gateway that starts need not read of every campaign there ever was."""
    for key in (command_key(campaign_id), done_key(campaign_id)):
        await bus.js.purge_stream(bucket_stream(BUCKET), subject=bucket_subject(BUCKET, key))
