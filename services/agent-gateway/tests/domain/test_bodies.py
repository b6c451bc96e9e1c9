"""The budget of bodies."""

from __future__ import annotations

import pytest
from agent_gateway.domain.bodies import IN_FLIGHT_LIMIT, LOG_LIMIT, Intake, Memory
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


def test_a_process_takes_two_of_the_largest_bodies_and_no_byte_more() -> None:
    memory = Memory()
    piece = bytes(1024 * 1024)
    for _ in range(2):
        intake = Intake(LOG_LIMIT, memory)
        for _ in range(LOG_LIMIT // len(piece)):
            intake.feed(piece)
        intake.finish()
    one_more = Intake(LOG_LIMIT, memory)
    one_more.feed(b"x")

    assert memory.used == 2 * IN_FLIGHT_LIMIT
    with pytest.raises(Unavailable):
        one_more.finish()
