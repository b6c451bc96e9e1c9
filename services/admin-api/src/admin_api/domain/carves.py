"""Read carves: what is known of them from live-query's tables, their contents from the blob store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from flotilla_common.blobs import Blobs
from flotilla_common.contracts.carves import part_object
from flotilla_common.db.models.live_query import Carve, CarveBlock
from flotilla_common.errors import Conflict, NotFound, Unavailable
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from admin_api.errors import BadRequest, Missing
from admin_api.store import carves

READS_AT_ONCE = 8  # blocks, of some 12 MiB at most, held in a process at a time
PIECE_BYTES = 256 * 1024
PAGE = 1000
BLOCK_LIMIT = 2**53
EXTENSIONS = {"zstd": "tar.zst", "tar": "tar", "": "tar"}


class Crowded(Unavailable):
    """Too many carves are being read at once."""


class Gone(BadRequest):
    """The carve's contents have been deleted; the text is the one that clients know."""

    def __init__(self) -> None:
        super().__init__("cannot get block for expired carve")


class CarveReads:
    """How many read contents of carves at once, in this process."""

    def __init__(self, limit: int = READS_AT_ONCE) -> None:
        self.limit = limit
        self.now = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Be one of those who read.

        Raises:
            Crowded: there are enough.

        """
        if self.now >= self.limit:
            raise Crowded(f"{self.limit} carves are being read: try again later")
        self.now += 1
        try:
            yield
        finally:
            self.now -= 1


def is_expired(carve: Carve, now: datetime) -> bool:
    """Whether the contents are gone, or as good as gone."""
    return carve.expired_at is not None or carve.expires_at <= now


def file_name(carve: Carve) -> str:
    """Return under which name a carve is downloaded; its own name has plain characters only."""
    return f"{carve.name}.{EXTENSIONS.get(carve.format, 'tar')}"


async def find(session: AsyncSession, carve_id: int) -> Carve:
    """Return a carve.

    Raises:
        Missing: there is none with this id.

    """
    carve = await carves.by_id(session, carve_id)
    if carve is None:
        raise Missing("Carve", carve_id)
    return carve


async def find_readable(session: AsyncSession, carve_id: int, now: datetime) -> Carve:
    """Return a carve that has contents.

    Raises:
        Missing: there is none with this id.
        Gone: it has expired.

    """
    carve = await find(session, carve_id)
    if is_expired(carve, now):
        raise Gone
    return carve


async def find_complete(session: AsyncSession, carve_id: int, now: datetime) -> Carve:
    """Return a carve that can be downloaded as a whole; raises as `find_readable`, and Conflict when blocks lack."""
    carve = await find_readable(session, carve_id, now)
    if carve.completed_at is None:
        raise Conflict(f"{carve.blocks_stored} of {carve.block_count} blocks have come")
    return carve


async def find_block(session: AsyncSession, carve_id: int, block_id: int, now: datetime) -> CarveBlock:
    """Return a block that is stored; raises as `find_readable`, and NotFound when it is not there (yet)."""
    await find_readable(session, carve_id, now)
    found = await carves.stored_blocks(session, carve_id, min(block_id, BLOCK_LIMIT), 1)
    if not found or found[0].block_id != block_id:
        raise NotFound(f"block {block_id} not yet available")
    return found[0]


async def content_of(blobs: Blobs, block: CarveBlock) -> AsyncIterator[bytes]:
    """Yield the bytes of a block, part by part.

    Raises:
        NotFound: it was deleted meanwhile: the carve has expired.

    """
    for part in range(block.parts):
        piece = await blobs.get(part_object(block.carve_id, block.block_id, bytes(block.sha256), part))
        if piece is None:
            raise NotFound(f"block {block.block_id} is not there any more")
        yield piece


async def whole(
    sessions: async_sessionmaker[AsyncSession], blobs: Blobs, reads: CarveReads, carve: Carve
) -> AsyncIterator[bytes]:
    """Yield a complete carve in pieces of PIECE_BYTES at most; whoever reads slowly holds one part in memory.

    The place among those who read is taken at the first piece.

    Raises:
        Crowded: too many read.
        NotFound: the carve expired meanwhile: what was sent is not all.

    """
    sent = 0
    async with reads.one():
        for first in range(0, carve.block_count, PAGE):
            async with sessions.begin() as session:
                blocks = await carves.stored_blocks(session, carve.id or 0, first, min(PAGE, carve.block_count - first))
            for block in blocks:
                async for part in content_of(blobs, block):
                    for at in range(0, len(part), PIECE_BYTES):
                        yield part[at : at + PIECE_BYTES]
                    sent += len(part)
                    await asyncio.sleep(0)
    if sent != carve.bytes_stored:
        raise NotFound("the carve expired while it was read")
