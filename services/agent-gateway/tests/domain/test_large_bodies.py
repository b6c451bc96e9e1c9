"""Large bodies are worked on beside the event loop, one at a time; small ones at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from agent_gateway.domain.large_bodies import INLINE_LIMIT, LargeBodies
from agent_gateway.errors import Malformed
from flotilla_common.testing import eventually

LARGE = INLINE_LIMIT + 1


async def test_a_small_body_is_worked_on_at_once() -> None:
    assert await LargeBodies().run(INLINE_LIMIT, threading.get_ident) == threading.get_ident()


async def test_the_event_loop_goes_on_while_one_large_body_at_a_time_is_worked_on() -> None:
    large = LargeBodies()
    begun: list[int] = []
    go_on = threading.Event()

    def work() -> int:
        begun.append(threading.get_ident())
        assert go_on.wait(30)
        return len(begun)

    tasks = [asyncio.create_task(large.run(LARGE, work)) for _ in range(3)]
    await eventually(lambda: begun)
    go_on.set()

    assert await asyncio.gather(*tasks) == [1, 2, 3]
    assert threading.get_ident() not in begun


async def test_what_is_wrong_with_a_large_body_is_told_and_the_next_one_is_worked_on() -> None:
    large = LargeBodies()

    def refuse() -> None:
        raise Malformed

    with pytest.raises(Malformed):
        await large.run(LARGE, refuse)
    assert await large.run(LARGE, lambda: 5) == 5


async def test_the_work_of_one_who_left_still_has_the_thread_for_itself() -> None:
    large = LargeBodies()
    begun: list[str] = []
    go_on = threading.Event()

    def work(name: str) -> str:
        begun.append(name)
        assert go_on.wait(30)
        return name

    leaves = asyncio.create_task(large.run(LARGE, lambda: work("leaves")))
    await eventually(lambda: begun)
    leaves.cancel()
    stays = asyncio.create_task(large.run(LARGE, lambda: work("stays")))
    with pytest.raises(asyncio.CancelledError):
        await leaves
    alone = begun == ["leaves"]
    go_on.set()

    assert await stays == "stays"
    assert alone


def test_a_process_that_ends_does_not_wait_for_one() -> None:
    code = """
import asyncio, threading
from agent_gateway.domain.large_bodies import INLINE_LIMIT, LargeBodies

async def leave():
    begun = threading.Event()
    def work():
        begun.set()
        threading.Event().wait()
    task = asyncio.create_task(LargeBodies().run(INLINE_LIMIT + 1, work))
    await asyncio.to_thread(begun.wait)
    task.cancel()

asyncio.run(leave())
print("left")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout == "left\n"
