"""What many bring goes into one message, and each hears what became of it."""

from __future__ import annotations

import asyncio

import pytest
from agent_gateway.domain import sharing as domain
from agent_gateway.domain.sharing import FLUSH_BYTES, Load, Sharing, all_of
from flotilla_common.errors import Refused, Unavailable


class Stream:
    """Keeps messages; `gate` holds them back, `failure` refuses them."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, list[bytes], list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def send(self, key: int, load: Load[str]) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.messages.append((key, list(load.pieces), list(load.notes)))


@pytest.fixture
def stream() -> Stream:
    return Stream()


async def test_pieces_of_one_key_share_a_message_and_those_of_another_do_not(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)

    await asyncio.gather(sharing.add(1, b"a", "A"), sharing.add(2, b"c", "C"), sharing.add(1, b"b", "B"))

    assert sorted(stream.messages) == [(1, [b"a", b"b"], ["A", "B"]), (2, [b"c"], ["C"])]


async def test_nobody_is_told_before_the_message_is_stored(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)
    stream.gate.clear()
    waiting = [sharing.add(1, b"a", "A"), sharing.add(1, b"b", "B")]
    closing = asyncio.create_task(sharing.close())
    await asyncio.sleep(0.02)
    early = [future.done() for future in waiting]
    stream.gate.set()
    await closing

    assert early == [False, False]
    assert [future.result() for future in waiting] == [None, None]


async def test_a_message_is_never_larger_than_it_may_be(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=10)

    await all_of([sharing.add(1, b"x" * size, "") for size in (6, 4, 5, 6, 10, 1)])

    assert [[len(piece) for piece in pieces] for _, pieces, _ in stream.messages] == [[6, 4], [5], [6], [10], [1]]


async def test_what_is_quiet_goes_out_sooner(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "LINGER_SECONDS", 600.0)
    loop = asyncio.get_running_loop()
    sharing = Sharing(stream.send, message_bytes=1000, quiet_seconds=3.0)
    first = sharing.add(1, b"a", "A")
    await asyncio.sleep(0.1)
    second, added = sharing.add(1, b"b", "B"), loop.time()
    await asyncio.wait_for(all_of([first, second]), 20)

    assert loop.time() - added >= 3.0 - 0.01
    assert stream.messages == [(1, [b"a", b"b"], ["A", "B"])]


async def test_but_no_later_than_all(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "LINGER_SECONDS", 0.05)
    sharing = Sharing(stream.send, message_bytes=1000, quiet_seconds=600.0)

    await asyncio.wait_for(all_of([sharing.add(1, b"a", "A"), sharing.add(1, b"b", "B")]), 20)

    assert stream.messages == [(1, [b"a", b"b"], ["A", "B"])]


async def test_much_is_not_kept_waiting(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=10 * FLUSH_BYTES)

    future = sharing.add(1, b"x" * FLUSH_BYTES, "")
    await asyncio.sleep(0)  # the message's task begins
    await asyncio.sleep(0)

    assert future.done()


@pytest.mark.parametrize("failure", [Refused("full"), Unavailable("no ack")])
async def test_all_who_share_a_message_hear_that_it_failed_and_the_next_one_is_another(
    stream: Stream, failure: Exception
) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)
    stream.failure = failure
    failed = await asyncio.gather(sharing.add(1, b"a", ""), sharing.add(1, b"b", ""), return_exceptions=True)
    stream.failure = None
    await sharing.add(1, b"c", "")

    assert failed == [failure, failure]
    assert [pieces for _, pieces, _ in stream.messages] == [[b"c"]]


async def test_who_leaves_takes_nobody_along(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)
    leaves, stays = sharing.add(1, b"a", ""), sharing.add(1, b"b", "")
    leaves.cancel()

    await stays

    assert [pieces for _, pieces, _ in stream.messages] == [[b"a", b"b"]]


async def test_all_are_waited_for_before_the_first_failure_is_raised(stream: Stream) -> None:
    loop = asyncio.get_running_loop()
    failed, late = loop.create_future(), loop.create_future()
    failed.set_exception(Refused("full"))
    waiting = asyncio.create_task(all_of([failed, late]))
    await asyncio.sleep(0)
    early = waiting.done()
    late.set_result(None)

    with pytest.raises(Refused):
        await waiting
    assert not early
