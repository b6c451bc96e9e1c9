"""Reading the stream: in order, bounded, and loud when something is lost."""

from __future__ import annotations

import pytest
from log_shipper.errors import StreamMadeAnew
from log_shipper.store import stream
from log_shipper.store.stream import LogReader


async def read_all(reader: LogReader, count: int) -> list[stream.StoredMessage]:
    found = [await reader.next(5.0) for _ in range(count)]
    return [message for message in found if message is not None]


async def test_messages_come_in_order_from_the_position(gateway, deps):
    await gateway.send(messages=30)
    reader = LogReader(deps.bus)
    await reader.seek(11)

    found = await read_all(reader, 20)

    assert [message.sequence for message in found] == list(range(11, 31))
    assert await reader.next(0.05) is None
    await reader.close()


async def test_more_messages_than_one_request_takes_are_read(gateway, deps, monkeypatch):
    monkeypatch.setattr(stream, "REQUEST_MESSAGES", 4)
    await gateway.send(messages=10)
    reader = LogReader(deps.bus)
    await reader.seek(1)

    assert len(await read_all(reader, 10)) == 10
    await reader.close()


async def test_a_request_is_bounded_in_bytes(gateway, deps, monkeypatch):
    monkeypatch.setattr(stream, "REQUEST_BYTES", 20_000)
    for _ in range(6):
        await gateway.send_lines([b"x" * 9_000])
    reader = LogReader(deps.bus)
    await reader.seek(1)

    assert len(await read_all(reader, 6)) == 6
    await reader.close()


async def test_an_expired_request_is_followed_by_another(gateway, deps, monkeypatch):
    monkeypatch.setattr(stream, "REQUEST_SECONDS", 0.2)
    reader = LogReader(deps.bus)
    await reader.seek(1)
    assert await reader.next(0.5) is None
    await gateway.send()

    message = await reader.next(2.0)

    assert message is not None
    assert message.sequence == 1
    await reader.close()


async def test_headers_only_brings_no_bodies_but_the_lines(gateway, deps):
    await gateway.send(lines=5)
    reader = LogReader(deps.bus, headers_only=True)
    await reader.seek(1)

    [message] = await read_all(reader, 1)

    assert (message.data, message.lines, message.log_type) == (b"", 5, "result")
    await reader.close()


async def test_a_purged_beginning_is_skipped(gateway, deps):
    await gateway.send(messages=5)
    await stream.purge(deps.bus, 4)
    reader = LogReader(deps.bus)
    await reader.seek(1)

    assert [message.sequence for message in await read_all(reader, 2)] == [4, 5]
    await reader.close()


async def test_a_stream_that_ends_before_the_cursor_is_refused(gateway, deps):
    await gateway.send(messages=2)

    with pytest.raises(StreamMadeAnew):
        await LogReader(deps.bus).seek(4)
