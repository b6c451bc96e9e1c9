"""Rows of blocks of carves."""

from __future__ import annotations

from collections.abc import Collection

from flotilla_common.db.models.live_query import CarveBlock
from sqlalchemy import BigInteger, and_, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

Key = tuple[int, int]  # carve, block


async def find(session: AsyncSession, keys: Collection[Key]) -> dict[Key, CarveBlock]:
    """Return those of these blocks of which something is stored."""
    asked = (
        func.unnest(
            cast([key[0] for key in keys], ARRAY(BigInteger)), cast([key[1] for key in keys], ARRAY(BigInteger))
        )
        .table_valued("carve_id", "block_id")
        .render_derived(name="asked")
    )
    statement = select(CarveBlock).join(
        asked, and_(col(CarveBlock.carve_id) == asked.c.carve_id, col(CarveBlock.block_id) == asked.c.block_id)
    )
    return {(block.carve_id, block.block_id): block for block in (await session.execute(statement)).scalars()}


async def last_in_a_row(session: AsyncSession, carve_id: int, after: int) -> int:
    """Return the last stored block of those that follow each other from `after` + 1 on; `after` when that one lacks."""
    found = await session.execute(
        text(
            "SELECT max(block_id) FROM (SELECT block_id, block_id - row_number() OVER (ORDER BY block_id) AS start"
            " FROM live_query.carve_blocks"
            " WHERE carve_id = :carve_id AND block_id > :after AND stored_at IS NOT NULL) AS numbered"
            " WHERE start = :after"
        ),
        {"carve_id": carve_id, "after": after},
    )
    last = found.scalar_one()
    return after if last is None else int(last)
