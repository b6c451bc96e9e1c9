"""carves.part.v1: blocks of carves, which go to the blob store."""

from __future__ import annotations

import asyncio

import msgspec
from flotilla_common.bus.consumer import Subscription
from flotilla_common.contracts.carves import STREAM, SUBJECT, VERSION, CarvePart
from flotilla_common.errors import Poison
from nats.aio.msg import Msg

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.carve_parts import object_of, record, wanted

DURABLE = "live-query-on_carve_parts"
BATCH = 16  # messages; each may have up to 8 MiB
_decoder = msgspec.msgpack.Decoder(CarvePart)


def decode(message: Msg) -> CarvePart:
    """Parse a message.

    Raises:
        Poison: it is none that a gateway of this release sends.

    """
    try:
        part = _decoder.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"not a part of a carve: {error}") from error
    if part.v != VERSION:
        raise Poison(f"part of version {part.v}")
    return part


async def handle(parts: list[CarvePart], deps: Deps) -> None:
    """Idempotent: an object's name has the digest of its block, and a part that is recorded is not recorded again.

    Bytes first, then their record: what is recorded can be read. Bytes that turn out to be unwanted (the carve has
    expired meanwhile, another replica has stored the block with other bytes) are deleted again; what a crash leaves of
    these goes with the carve's contents.
    """
    async with deps.sessions.begin() as session:
        chosen = await wanted(session, parts, now=deps.clock())
    await asyncio.gather(*(deps.blobs.put(object_of(part), part.data) for part in chosen))
    async with deps.sessions.begin() as session:
        tally, unwanted = await record(session, parts, now=deps.clock())
    put = {object_of(part) for part in chosen}
    await deps.blobs.delete(put & {object_of(part) for part in unwanted})
    for outcome, number in tally.items():
        metrics.CARVE_PARTS.labels(outcome).inc(number)
    metrics.CARVE_BYTES.inc(sum(len(part.data) for part in chosen))


SUBSCRIPTION = Subscription(STREAM, SUBJECT, DURABLE, decode, handle, batch=BATCH)
