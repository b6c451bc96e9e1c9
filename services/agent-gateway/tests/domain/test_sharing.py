"""What many bring goes into one message, and each hears what became of it."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from agent_gateway.domain import sharing as domain
from agent_gateway.domain.posts import Custody
from agent_gateway.domain.sharing import FLUSH_BYTES, Load, Sharing
from flotilla_common.errors import FleetError, Refused, Unavailable
from flotilla_common.testing import eventually, turns


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


async def custody_of(sharing: Sharing[int, str], *pieces: tuple[int, bytes, str]) -> None:
    """Hand pieces over at once: key, bytes, note; return when all are in custody."""
    custody = Custody()
    for piece in pieces:
        sharing.add(*piece, custody.told)
    await custody.of(len(pieces))


async def test_pieces_of_one_key_share_a_message_and_those_of_another_do_not(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)

    await custody_of(sharing, (1, b"a", "A"), (2, b"c", "C"), (1, b"b", "B"))

    assert sorted(stream.messages) == [(1, [b"a", b"b"], ["A", "B"]), (2, [b"c"], ["C"])]


async def test_nobody_is_told_before_the_message_is_stored(stream: Stream) -> None:
    sharing, told = Sharing(stream.send, message_bytes=1000), list[FleetError | None]()
    stream.gate.clear()
    sharing.add(1, b"a", "A", told.append)
    sharing.add(1, b"b", "B", told.append)
    closing = asyncio.create_task(sharing.close())
    await asyncio.sleep(0.02)
    early = list(told)
    stream.gate.set()
    await closing

    assert early == []
    assert told == [None, None]


async def test_a_message_is_never_larger_than_it_may_be(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=10)

    await custody_of(sharing, *((1, b"x" * size, "") for size in (6, 4, 5, 6, 10, 1)))

    assert [[len(piece) for piece in pieces] for _, pieces, _ in stream.messages] == [[6, 4], [5], [6], [10], [1]]


async def test_what_waits_goes_out_after_a_moment(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "LINGER_SECONDS", 3.0)
    loop = asyncio.get_running_loop()
    sharing, began = Sharing(stream.send, message_bytes=1000), loop.time()
    first = asyncio.create_task(custody_of(sharing, (1, b"a", "A")))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(asyncio.gather(first, custody_of(sharing, (1, b"b", "B"))), 20)

    assert loop.time() - began >= 3.0 - 0.01
    assert stream.messages == [(1, [b"a", b"b"], ["A", "B"])]


async def test_at_once_is_in_the_same_turn_and_then_as_soon_as_the_message_before_is_stored(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "LINGER_SECONDS", 600.0)
    sharing, told = Sharing(stream.send, message_bytes=1000, at_once=True), list[FleetError | None]()
    stream.gate.clear()
    for letter in (b"a", b"b"):
        sharing.add(1, letter, "", told.append)
    await turns()
    for letter in (b"c", b"d"):
        sharing.add(1, letter, "", told.append)
        await turns()
    sharing.add(2, b"e", "", told.append)
    await turns()
    early = (sharing._on_their_way[1], sharing._on_their_way[2], list(stream.messages))
    stream.gate.set()
    await turns(10)

    assert early == (1, 1, [])
    assert [pieces for _, pieces, _ in stream.messages] == [[b"a", b"b"], [b"e"], [b"c", b"d"]]
    assert told == [None] * 5


async def test_at_once_waits_no_longer_than_usual_for_a_message_that_is_slow(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "LINGER_SECONDS", 0.05)
    sharing, told = Sharing(stream.send, message_bytes=1000, at_once=True), list[FleetError | None]()
    stream.gate.clear()
    sharing.add(1, b"a", "", told.append)
    await turns()
    sharing.add(1, b"b", "", told.append)
    await eventually(lambda: sharing._on_their_way[1] == 2)
    stream.gate.set()
    await eventually(lambda: len(told) == 2)

    assert sharing._on_their_way[1] == 0


@pytest.mark.parametrize("flush_bytes", [FLUSH_BYTES, 4 * FLUSH_BYTES])
async def test_much_is_not_kept_waiting(stream: Stream, flush_bytes: int) -> None:
    sharing, told = Sharing(stream.send, message_bytes=10 * FLUSH_BYTES, flush_bytes=flush_bytes), list[object]()

    sharing.add(1, b"x" * (flush_bytes - 1), "", told.append)
    await turns()
    early = list(told)
    sharing.add(1, b"x", "", told.append)
    await turns()

    assert early == []
    assert told == [None, None]


@pytest.mark.parametrize("failure", [Refused("full"), Unavailable("no ack")])
async def test_all_who_share_a_message_hear_that_it_failed_and_the_next_one_is_another(
    stream: Stream, failure: Exception
) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)
    stream.failure = failure
    failed = await asyncio.gather(
        custody_of(sharing, (1, b"a", "")), custody_of(sharing, (1, b"b", "")), return_exceptions=True
    )
    stream.failure = None
    await custody_of(sharing, (1, b"c", ""))

    assert failed == [failure, failure]
    assert [pieces for _, pieces, _ in stream.messages] == [[b"c"]]


async def test_who_leaves_takes_nobody_along(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)
    leaves = asyncio.create_task(custody_of(sharing, (1, b"a", "")))
    stays = asyncio.create_task(custody_of(sharing, (1, b"b", "")))
    await turns()
    leaves.cancel()

    await stays

    assert [pieces for _, pieces, _ in stream.messages] == [[b"a", b"b"]]


async def test_who_cannot_be_told_keeps_nobody_else_from_hearing(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)

    def fail(_: FleetError | None) -> None:
        raise ValueError("a bug")

    sharing.add(1, b"a", "", fail)
    await custody_of(sharing, (1, b"b", ""))

    assert [pieces for _, pieces, _ in stream.messages] == [[b"a", b"b"]]


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_message_that_is_cancelled_is_not_in_custody_and_the_next_one_goes(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, *, is_begun: bool
) -> None:
    monkeypatch.setattr(domain, "LINGER_SECONDS", 600.0)
    sharing, told = Sharing(stream.send, message_bytes=1000, at_once=True), list[FleetError | None]()
    stream.gate.clear()
    sharing.add(1, b"a", "", told.append)
    await eventually(lambda: sharing._tasks)
    if is_begun:
        await turns()
    sharing.add(1, b"b", "", told.append)
    next(iter(sharing._tasks)).cancel()
    await eventually(lambda: told)
    stream.gate.set()
    await sharing.close()

    assert [type(one) for one in told] == [Unavailable, type(None)]
    assert sharing._on_their_way[1] == 0


async def test_a_bug_in_sending_is_a_failure(stream: Stream) -> None:
    sharing = Sharing(stream.send, message_bytes=1000)
    stream.failure = ValueError("a bug")

    with pytest.raises(Unavailable, match="a bug"):
        await custody_of(sharing, (1, b"a", ""))


async def test_what_is_added_while_others_are_told_goes_out_too(stream: Stream) -> None:
    sharing, told = Sharing(stream.send, message_bytes=1000, at_once=True), list[FleetError | None]()
    sharing.add(1, b"a", "", lambda _: sharing.add(1, b"b", "", told.append))
    await sharing.close()

    assert told == [None]
    assert [pieces for _, pieces, _ in stream.messages] == [[b"a"], [b"b"]]


async def test_a_failure_keeps_nothing_of_those_who_hear_of_it_nor_grows_with_them(stream: Stream) -> None:
    """Else bodies would stay until the next collection of garbage, which is rare here."""
    left, depths = weakref.WeakSet[Any](), list[int]()

    def body() -> Callable[[], None]:
        """Return what is here as long as the frame that has it."""

        def stand_in() -> None: ...

        left.add(stand_in)
        return stand_in

    async def send(key: int, load: Load[str]) -> None:
        _message = body()
        await stream.send(key, load)

    sharing = Sharing(send, message_bytes=1000)

    async def post() -> None:
        _body = body()
        try:
            await custody_of(sharing, (1, b"a", ""))
        except Refused as error:
            depths.append(len(traceback.extract_tb(error.__traceback__)))

    gc.collect()
    gc.disable()
    try:
        stream.failure = Refused("full")
        await asyncio.gather(*(post() for _ in range(10)))
        stream.failure = None
        await turns()
        assert len(set(depths)) == 1
        assert len(depths) == 10
        assert not left
    finally:
        gc.enable()


async def test_a_tally_may_hear_of_pieces_before_it_knows_how_many_there_are() -> None:
    custody, short = Custody(), Custody()
    for one in (custody, short):
        one.told(None)
        one.told(None)
    waiting = [asyncio.create_task(custody.of(2)), asyncio.create_task(short.of(3))]
    await turns()
    known = [task.done() for task in waiting]
    short.told(None)
    await asyncio.wait_for(asyncio.gather(*waiting), 20)

    assert known == [True, False]


async def test_all_are_waited_for_before_the_first_failure_is_raised() -> None:
    custody = Custody()
    waiting = asyncio.create_task(custody.of(3))
    custody.told(Refused("full"))
    custody.told(Unavailable("no ack"))
    await turns()
    early = waiting.done()
    custody.told(None)

    with pytest.raises(Refused):
        await waiting
    assert not early
