"""The budget of bodies."""

from __future__ import annotations

import gzip

import pytest
from agent_gateway.domain.bodies import (
    DISTRIBUTED_WRITE_LIMIT,
    ENROLL_LIMIT,
    IN_FLIGHT_LIMIT,
    LOG_LIMIT,
    MIB,
    Intake,
    Memory,
)
from flotilla_common.errors import Unavailable


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


def test_a_small_piece_that_becomes_much_is_inflated_in_turns() -> None:
    body = bytes(8 * MIB)
    intake = Intake(16 * MIB, Memory(), gzip=True)

    intake.feed(gzip.compress(body))
    first, turns = intake.size, 1
    while intake.is_behind:
        intake.feed(b"")
        turns += 1
    intake.finish()

    assert first <= MIB
    assert turns >= 8
    assert intake.join() == body
