"""The budget of bodies."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest
from agent_gateway.domain import bodies
from agent_gateway.domain.bodies import (
    DISTRIBUTED_WRITE_LIMIT,
    ENROLL_LIMIT,
    IN_FLIGHT_LIMIT,
    LOG_LIMIT,
    MIB,
    Intake,
    Memory,
)
from agent_gateway.errors import Malformed, TooLarge
from flotilla_common.errors import Unavailable
from isal import isal_zlib


def test_a_body_costs_what_it_and_its_copy_take_until_it_is_released() -> None:
    memory = Memory()
    intake = Intake(100, memory)
    for piece in (b"ab", b"cd"):
        intake.feed(piece)
    intake.finish()

    assert (intake.size, memory.used) == (4, 8)
    assert intake.join() == b"abcd"
    assert memory.used == 8
    intake.release()
    assert memory.used == 0


def test_only_the_caller_holds_a_body_that_was_joined() -> None:
    intake = Intake(100, Memory())
    intake.feed(b"ab")
    intake.join()

    assert intake.join() == b""


def fill(memory: Memory, cap: int, size: int) -> Intake:
    """Have a body of a class with this cap come in, of so many bytes."""
    intake = Intake(cap, memory)
    for start in range(0, size, MIB):
        intake.feed(bytes(min(MIB, size - start)))
    return intake


def test_a_process_takes_so_many_bodies_of_a_class_and_no_byte_more_and_leaves_room_for_smaller_ones() -> None:
    memory = Memory()
    for cap, size, total in (
        (LOG_LIMIT, LOG_LIMIT, 128 * MIB),
        (LOG_LIMIT, 64 * MIB, 192 * MIB),
        (DISTRIBUTED_WRITE_LIMIT, 32 * MIB, 224 * MIB),
        (ENROLL_LIMIT, 31 * MIB // 32, 224 * MIB + 31 * MIB // 32),
    ):
        fill(memory, cap, size).finish()
        assert memory.used == 2 * total
        if cap != ENROLL_LIMIT and total != 128 * MIB:
            with pytest.raises(Unavailable):
                fill(memory, cap, 1).finish()
    assert memory.used <= 2 * IN_FLIGHT_LIMIT


def packed(body: bytes, limit: int = 16 * MIB, memory: Memory | None = None) -> Intake:
    """Return a body that has come as gzip."""
    intake = Intake(limit, memory or Memory(), gzip=True)
    intake.feed(body)
    intake.finish()
    return intake


async def test_a_small_piece_that_becomes_much_is_inflated_in_turns() -> None:
    body = bytes(8 * MIB)
    intake = packed(gzip.compress(body))
    unpacking = asyncio.create_task(intake.unpack(asyncio.Lock()))
    sizes = []
    while not unpacking.done():
        await asyncio.sleep(0)
        sizes.append(intake.size)

    assert max(after - before for before, after in itertools.pairwise(sizes)) <= MIB
    assert len(sizes) >= 8
    assert intake.join() == body


async def test_gzip_costs_what_was_sent_until_all_of_it_is_here() -> None:
    memory = Memory()
    sent = gzip.compress(bytes(8 * MIB))
    intake = Intake(16 * MIB, memory, gzip=True)
    for start in range(0, len(sent), 1000):
        intake.feed(sent[start : start + 1000])

    assert memory.used == 2 * len(sent)
    intake.finish()
    await intake.unpack(asyncio.Lock())
    assert memory.used == 2 * (len(sent) + 8 * MIB)
    intake.release()
    assert memory.used == 0


async def test_of_all_large_gzip_bodies_one_has_memory_until_its_sender_is_known_or_it_is_released() -> None:
    memory, turn = Memory(), asyncio.Lock()
    first, second, third = (packed(gzip.compress(bytes(4 * MIB)), memory=memory) for _ in range(3))
    small = packed(gzip.compress(bytes(MIB // 2)), memory=memory)
    as_sent = memory.used
    await first.unpack(turn)
    waiting = [asyncio.create_task(intake.unpack(turn)) for intake in (second, third)]
    await small.unpack(turn)
    for _ in range(5):
        await asyncio.sleep(0)

    assert memory.used == as_sent + 2 * (4 * MIB + MIB // 2)
    first.leave_turn()
    await waiting[0]
    assert (len(first.join()), second.size, third.size) == (4 * MIB, 4 * MIB, 0)
    second.release()
    await waiting[1]
    assert third.size == 4 * MIB


async def test_who_gives_up_waiting_for_a_turn_leaves_it_to_others() -> None:
    turn = asyncio.Lock()
    first, second, third = (packed(gzip.compress(bytes(2 * MIB))) for _ in range(3))
    await first.unpack(turn)
    waiting = asyncio.create_task(second.unpack(turn))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    second.release()
    first.release()

    await third.unpack(turn)
    assert third.size == 2 * MIB


@pytest.mark.parametrize("size", [0, 1, 255, MIB - 1, MIB, MIB + 1, 3 * MIB + 17])
async def test_what_was_compressed_comes_out_however_it_was_cut(size: int) -> None:
    body = random.Random(size).randbytes(size)
    sent = gzip.compress(body, compresslevel=1)
    for step in {7777, len(sent)}:
        intake = Intake(16 * MIB, Memory(), gzip=True)
        for start in range(0, len(sent), step):
            intake.feed(sent[start : start + step])
        intake.finish()
        await intake.unpack(asyncio.Lock())

        assert intake.join() == body


@pytest.mark.parametrize(
    "body",
    [b"", b"x", gzip.compress(b"a" * 100)[:-9], b"\x1f\x8b\x08" + b"\xff" * 100],
    ids=["nothing", "no gzip", "cut off", "damaged"],
)
async def test_what_is_no_whole_gzip_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        await packed(body).unpack(asyncio.Lock())


async def test_a_bomb_is_refused_at_the_cap() -> None:
    memory = Memory()
    intake = packed(gzip.compress(bytes(32 * MIB)), limit=4 * MIB, memory=memory)

    with pytest.raises(TooLarge):
        await intake.unpack(asyncio.Lock())
    assert memory.used <= 2 * 5 * MIB


async def test_nothing_looks_at_what_follows_the_end_of_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inflater copies all of what it is given behind the end, each time."""
    fed = []

    class Counting:
        def __init__(self, wbits: int) -> None:
            self._own = isal_zlib.decompressobj(wbits=wbits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._own, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            fed.append(len(data))
            return self._own.decompress(data, most)

    monkeypatch.setattr(bodies, "isal_zlib", SimpleNamespace(decompressobj=Counting))
    intake = Intake(16 * MIB, Memory(), gzip=True)
    intake.feed(gzip.compress(b"{}"))
    for _ in range(64):
        intake.feed(bytes(64 * 1024))
    intake.finish()
    await intake.unpack(asyncio.Lock())

    assert intake.join() == b"{}"
    assert len(fed) == 1
