"""What the parts of group `live` say must be true of what hosts were given, and of when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from agent_gateway.domain.distributed_write import parse_write
from agent_gateway.domain.results import campaign_of as campaign_at_the_door
from flotilla_common.testing import eventually

from bench.fleet import node_key
from bench.live import reach
from bench.live.kept import KeptConnection, campaign_of, names_in
from bench.live.polling import ROWS, Account, Hosts, poll
from bench.live.reach import Sample, percentile
from bench.load_client import LoadFailed
from bench.measures import LONG_PAUSE_EVERY, PAUSE_SECONDS, SHORT_PAUSE_SECONDS, pause_of

NAME = f"fleet_distributed_query_12_1_{'a' * 32}"


def test_a_query_tells_its_campaign_and_an_odd_one_fails_the_part():
    assert names_in(b'{"queries":{"%s":"SELECT 1"},"accelerate":10}' % NAME.encode()) == [NAME]
    assert campaign_of(NAME) == 12
    for odd in (b'{"error":"x"}', b'{"node_invalid":true}', b"", b"[]"):
        with pytest.raises(LoadFailed):
            names_in(odd)
    with pytest.raises(LoadFailed):
        campaign_of("fleet_label_query_x")


def test_a_host_answers_every_query_that_it_was_given():
    other = NAME.replace("_12_", "_13_")
    head, _, body = Hosts(8).answer(7, [NAME, other]).partition(b"\r\n\r\n")
    request = parse_write(body)

    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert request.node_key == node_key(7)
    assert [campaign_at_the_door(name) for name in request.queries or {}] == [(12, 1), (13, 1)]
    assert body.count(b'"pid"') == 2 * ROWS


def test_a_percentile_is_a_value_that_was_measured():
    values = list(range(1, 101))

    assert [percentile(values, share) for share in (0.01, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.99) == 7.0


def test_lateness_is_told_in_milliseconds():
    assert Account(polls=1, late=[0.001] * 98 + [0.5] * 2).to_json()["p99_late_ms"] == 500
    assert Account().to_json()["p99_late_ms"] == 0


class Door:
    """A gateway that hears of campaign 12 with its third poll, and asks some hosts alone, each once."""

    def __init__(self, asked: set[int]) -> None:
        self.polls: list[int] = []
        self.waiting = set(asked)

    async def read(self, number: int) -> list[str]:
        self.polls.append(number)
        if len(self.polls) < 3 or number not in self.waiting:
            return []
        self.waiting.discard(number)
        return [NAME]


async def test_the_first_poll_counts_though_the_campaign_is_known_by_its_number_only_later():
    door = Door({1, 2, 3})
    wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    polling = asyncio.create_task(Sample(door, [1, 2, 3]).first_poll_with(wanted))
    await eventually(lambda: len(door.polls) >= 8, timeout=30)
    between = asyncio.get_running_loop().time()
    wanted.set_result(12)

    assert await polling < between
    assert door.waiting == set()


async def test_every_host_of_the_sample_must_be_asked():
    wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    wanted.set_result(12)

    with pytest.raises(LoadFailed, match="1 of 3 hosts were not asked"):
        await Sample(Door({1, 3}), [1, 2, 3]).first_poll_with(wanted)


async def test_a_campaign_that_reaches_nobody_fails_the_part(monkeypatch):
    monkeypatch.setattr(reach, "WAIT_SECONDS", 0.05)
    wanted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    with pytest.raises(LoadFailed, match="no poll got the campaign"):
        await Sample(Door(set()), [1, 2]).first_poll_with(wanted)


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answer every request with these bytes; give the port and the requests, paths with bodies."""
    seen: list[bytes] = []
    handling: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        while head := await reader.readline():
            length = 0
            while (line := await reader.readline()) not in (b"\r\n", b""):
                length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else length
            seen.append(head.split()[1] + b" " + await reader.readexactly(length))
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen
        await asyncio.wait_for(asyncio.gather(*handling), 10)


async def test_an_answer_that_is_no_success_fails_the_part():
    async with serving(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 2\r\n\r\n{}") as (port, _):
        async with KeptConnection(port) as connection:
            with pytest.raises(LoadFailed, match="503"):
                await connection.read(1)


async def test_each_host_polls_once_per_interval_and_answers_what_it_is_asked(monkeypatch):
    body = b'{"queries":{"%s":"SELECT 1"}}' % NAME.encode()
    ended = asyncio.Event()

    async def until_both_polled(*_: object) -> None:
        await ended.wait()

    monkeypatch.setattr(asyncio, "to_thread", until_both_polled)
    monkeypatch.setattr("bench.live.polling.LANES", 2)
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as (port, seen):
        polling = asyncio.create_task(poll(0.4, 2, [port]))
        await eventually(lambda: len(seen) >= 8, timeout=30)
        ended.set()
        account = await polling
    polls = [one for one in seen if b"/distributed/read" in one]

    assert account.polls >= 4
    assert account.polls - 2 <= account.answers <= account.polls
    assert {one[-34:-2].decode() for one in polls} == {node_key(0), node_key(1)}


def test_pauses_between_edits_are_short_for_most_and_sometimes_long():
    """Together they begin everywhere in waits of five seconds; some come after a long silence."""
    pauses = [pause_of(number) for number in range(30)]

    assert all(PAUSE_SECONDS[0] <= one <= PAUSE_SECONDS[1] for one in pauses)
    assert all(one <= SHORT_PAUSE_SECONDS for number, one in enumerate(pauses) if number % LONG_PAUSE_EVERY)
