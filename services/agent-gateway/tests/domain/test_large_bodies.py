"""Large bodies are worked on beside the event loop, one at a time; small ones at once."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import pytest
from agent_gateway.domain.large_bodies import INLINE_LIMIT, LargeBodies, claimed_key
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


async def test_nothing_of_work_that_failed_outlives_it() -> None:
    large, held = LargeBodies(), [Held()]
    left = weakref.ref(held[0])

    def refuse(_: Held = held[0]) -> None:
        raise Malformed

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Malformed):
            await large.run(LARGE, refuse)
        del refuse
        held.clear()
        await eventually(lambda: left() is None, timeout=5.0)
    finally:
        gc.enable()


class Held:
    """What a body's work holds."""


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"data":[],"node_key":"abc-1"}', "abc-1"),
        (b'{"node_key" : "abc","data":"' + b"x" * 5000 + b'"}', "abc"),
        (b'{"data":"' + b"x" * 5000 + b'"}', None),
        (b'{"node_key":"\\u0061"}', None),
    ],
)
def test_a_key_is_seen_where_clients_put_it(body: bytes, key: str | None) -> None:
    assert claimed_key(body) == key
