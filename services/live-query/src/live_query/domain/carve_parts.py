"""Take blocks of carves, part by part: in any order, any of them more than once, at several replicas at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from flotilla_common.contracts.carves import PARTS_LIMIT, CarvePart, part_object
from flotilla_common.db.models.live_query import Carve, CarveBlock
from sqlalchemy.ext.asyncio import AsyncSession

from live_query.domain.campaigns import plain_text
from live_query.store import carve_blocks, carves

ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, section 3.1.1
Verdict = Literal["stored", "repeated", "differs", "fault", "late", "beyond", "foreign", "unknown"]
Blocks = dict[carve_blocks.Key, CarveBlock]


async def wanted(session: AsyncSession, parts: Sequence[CarvePart], *, now: datetime) -> list[CarvePart]:
    """Return those parts whose bytes are to be put into the blob store, each once."""
    known = await carves.find(session, {part.carve_id for part in parts})
    blocks = await carve_blocks.find(session, {_key(part) for part in parts})
    found: dict[str, CarvePart] = {}
    for part in parts:
        if verdict(part, known.get(part.carve_id), blocks.get(_key(part)), now) == "stored":
            found[object_of(part)] = part
    return list(found.values())


async def record(
    session: AsyncSession, parts: Sequence[CarvePart], *, now: datetime
) -> tuple[Counter[str], list[CarvePart]]:
    """Record parts whose bytes are in the blob store; return what came of all, and those whose bytes are not wanted.

    Counted are `stored`; `repeated`: it was there before; `differs`: the block was there before with other bytes, which
    stay; `fault`: the door refused a block and says why; `late`: the carve has expired; `beyond`: not within the
    carve's numbers; `foreign`: another host's carve; `unknown`: no carve.
    """
    held = await carves.hold(session, {part.carve_id for part in parts})
    blocks = await carve_blocks.find(session, {_key(part) for part in parts})
    tally: Counter[str] = Counter()
    unwanted: list[CarvePart] = []
    whole: dict[int, set[int]] = {}
    for part in parts:
        carve = held.get(part.carve_id)
        outcome = verdict(part, carve, blocks.get(_key(part)), now)
        tally[outcome] += 1
        if carve is None or outcome not in ("stored", "repeated"):
            unwanted.append(part)
        if carve is not None:
            _note(carve, part, outcome)
        if carve is not None and outcome == "stored" and _store(session, carve, part, blocks, now):
            whole.setdefault(part.carve_id, set()).add(part.block_id)
    await session.flush()
    for carve_id, block_ids in whole.items():
        await _advance(session, held[carve_id], block_ids, now)
    return tally, unwanted


def verdict(part: CarvePart, carve: Carve | None, block: CarveBlock | None, now: datetime) -> Verdict:
    """Say what is to become of a part."""
    if carve is None or carve.host_id != part.host_id:
        return "unknown" if carve is None else "foreign"
    if carve.expired_at is not None or carve.expires_at <= now:
        return "late"
    if part.fault:
        return "fault"
    within = 0 <= part.block_id < carve.block_count and 0 < part.block_size <= carve.block_size
    if not within or not 0 <= part.part < part.parts <= PARTS_LIMIT:
        return "beyond"
    return "stored" if block is None else _again(part, block)


def _again(part: CarvePart, block: CarveBlock) -> Verdict:
    if bytes(block.sha256) != part.block_sha256:
        return "differs"
    return "repeated" if block.parts_stored >> part.part & 1 else "stored"


def object_of(part: CarvePart) -> str:
    """Return the name of the part's bytes in the blob store."""
    return part_object(part.carve_id, part.block_id, part.block_sha256, part.part)


def format_of(beginning: bytes) -> str:
    """Return the format of a carve from its first bytes."""
    return "zstd" if beginning.startswith(ZSTD) else "tar"


def _note(carve: Carve, part: CarvePart, outcome: Verdict) -> None:
    """Keep the first thing that went wrong: osqueryd hears of none and reports success."""
    which = f"block {part.block_id}" if part.block_id >= 0 else "a block"
    faults = {
        "differs": f"{which} came again with other bytes",
        "beyond": f"{which} is not within the carve's numbers",
        "fault": f"{which}: {plain_text(part.fault, carves.ERROR_CHARACTERS)}",
    }
    if carve.error is None and outcome in faults:
        carve.error = faults[outcome]


def _store(session: AsyncSession, carve: Carve, part: CarvePart, blocks: Blocks, now: datetime) -> bool:
    """Note a part; return whether its block is whole by that."""
    block = blocks.get(_key(part))
    if block is None:
        block = CarveBlock(
            carve_id=part.carve_id,
            block_id=part.block_id,
            sha256=part.block_sha256,
            size=part.block_size,
            parts=part.parts,
        )
        session.add(block)
        blocks[_key(part)] = block
    block.parts_stored |= 1 << part.part
    if part.block_id == 0 and part.part == 0:
        carve.format = format_of(part.data)
    if block.parts_stored != (1 << block.parts) - 1:
        return False
    block.stored_at = now
    carve.blocks_stored += 1
    carve.bytes_stored += block.size
    return True


async def _advance(session: AsyncSession, carve: Carve, block_ids: set[int], now: datetime) -> None:
    """Move on the last block without a gap before it, which clients judge by, and see whether the carve is complete.

    The table is asked only when blocks came out of order: otherwise there are none beyond those that follow each other.
    """
    last = carve.max_block
    while last + 1 in block_ids:
        last += 1
    if last > carve.max_block and carve.blocks_stored > last + 1:
        last = await carve_blocks.last_in_a_row(session, carve.id or 0, last)
    carve.max_block = last
    if carve.blocks_stored != carve.block_count:
        return
    carve.completed_at = now
    if carve.bytes_stored != carve.carve_size and carve.error is None:
        carve.error = f"the blocks have {carve.bytes_stored} bytes, the carve was to have {carve.carve_size}"


def _key(part: CarvePart) -> carve_blocks.Key:
    return part.carve_id, part.block_id
