"""The plain port's shortcut gives the bytes that the whole way gives, on connections that are kept above all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest
from agent_gateway import shortcut
from agent_gateway.app import create_app
from agent_gateway.deps import Deps
from agent_gateway.listeners import listen_plain
from agent_gateway.routes.door import Door
from agent_gateway.shortcut import ShortcutProtocol
from flotilla_common.contracts.campaigns import CampaignCommand
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from flotilla_stack.servers.ports import choose_port
from pyroaring import BitMap

from ..conftest import House
from ..listening import is_listening
from .plain import CONFIG, LOG, NOTHING, PATIENCE, READ, WRITE, Plain, answered


async def test_polls_over_a_kept_connection_are_answered_one_by_one_and_counted_once(plain: Plain) -> None:
    poll = plain.request(READ)
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    found = []
    for _ in range(20):
        writer.write(poll)
        found.append(await asyncio.wait_for(plain.answer(reader), 20))
    writer.close()

    assert found == [answered(NOTHING)] * 20
    assert plain.house.gateway.counters.requests["distributed_read"] == 20


@pytest.mark.parametrize("plain", [True], indirect=True)
async def test_a_usual_poll_takes_the_shortcut(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    await plain.answers(plain.request(READ), count=1)  # the first one asks inventory for the key

    def closed(*_: object) -> None:
        raise AssertionError("the whole way")

    monkeypatch.setattr(Door, "__call__", closed)

    assert await plain.answers(plain.request(READ), count=1) == [answered(NOTHING)]


@pytest.mark.parametrize("plain", [True], indirect=True)
@pytest.mark.parametrize("hold_seconds", [60.0, 0.0])
async def test_a_usual_post_takes_it_too_if_it_comes_soon(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, hold_seconds: float
) -> None:
    await plain.answers(plain.request(READ), count=1)  # the first one asks inventory for the key
    monkeypatch.setattr(shortcut, "HOLD_SECONDS", hold_seconds)
    went: list[object] = []
    call = Door.__call__
    monkeypatch.setattr(Door, "__call__", lambda self, *asgi: went.append(1) or call(self, *asgi))
    write, log = plain.request(WRITE, queries={}), plain.request(LOG, log_type="result", data=[{"a": "1"}] * 3)

    for post in (log, write):
        assert await plain.answers(post, count=1) == [answered(b"{}")]
    assert not went
    counters = plain.house.gateway.counters
    assert (counters.lines["result"], counters.requests["log"], counters.requests["distributed_write"]) == (3, 1, 1)

    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(log[:-5])
    if not hold_seconds:
        await eventually(lambda: went)
    writer.write(log[-5:])
    assert await asyncio.wait_for(plain.answer(reader), 20) == answered(b"{}")
    writer.close()
    assert len(went) == (not hold_seconds)
    assert counters.lines["result"] == 6
    assert (plain.house.gateway.memory.used, plain.door.inside) == (0, 0)


@pytest.mark.parametrize(("path", "more"), [(LOG, {"log_type": "result", "data": [{"a": "1"}]}), (WRITE, {})])
async def test_what_custody_does_not_take_is_answered_with_error(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, object]
) -> None:
    async def refuse(*_: object) -> int:
        raise Unavailable("no room")

    gateway, host_id = plain.house.gateway, 1
    gateway.campaigns.start(CampaignCommand(5, "SELECT 1", 0, 2**40, "", b""), BitMap([host_id]), gateway.now())
    for keeper in (gateway.logs, gateway.answers):
        monkeypatch.setattr(keeper, "_publish", refuse)
    request = plain.request(path, **more, queries={"fleet_distributed_query_5_1": [{"a": "1"}]})

    ((first, _, body),) = await plain.answers(request, count=1)

    assert (first, json.loads(body)) == (b"HTTP/1.1 503 Service Unavailable", {"error": "unavailable"})
    assert gateway.counters.failures == {"unavailable": 1}
    assert gateway.campaigns.has_open(host_id)
    assert (gateway.memory.used, plain.door.inside) == (0, 0)


async def test_a_client_that_leaves_before_its_lines_are_in_custody_has_them_stored(plain: Plain) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(plain.request(LOG, log_type="result", data=[{"a": "1"}]))
    await writer.drain()
    writer.close()

    counters = plain.house.gateway.counters
    await eventually(lambda: counters.lines["result"] == 1)
    await eventually(lambda: plain.door.inside == 0)


async def test_what_is_sent_ahead_is_answered_in_its_order(plain: Plain) -> None:
    """Those that go the whole way are waited for: the log's ack takes longer than a poll behind it."""
    log = plain.request(LOG, log_type="result", data=[{"a": "1"}])
    nobody = plain.request("/api/v1/osquery/nothing")
    poll, orbit = plain.request(READ), plain.request("/api/fleet/orbit/config")

    found = await plain.answers(poll + poll + log + poll + nobody + orbit + log + poll, count=8)

    bodies = [body for _, _, body in found]
    assert bodies[:4] == [NOTHING, NOTHING, b"{}", NOTHING]
    assert [json.loads(body)["error"] for body in bodies[4:6]] == ["not_found", "missing_orbit_node_key"]
    assert bodies[6:] == [b"{}", NOTHING]


async def test_a_request_cut_anywhere_is_answered_alike(plain: Plain) -> None:
    whole = plain.request(CONFIG, "User-Agent: orbit", etag="")
    expected = (await plain.answers(whole, count=1))[0]
    pieces = await plain.answers(*(whole[at : at + 1] for at in range(len(whole))), count=1)
    halves = [(await plain.answers(whole[:at], whole[at:], count=1))[0] for at in range(1, len(whole), 7)]

    assert expected[0] == b"HTTP/1.1 200 OK"
    assert [*pieces, *halves] == [expected] * (1 + len(halves))


async def test_chunks_are_put_together(plain: Plain) -> None:
    head, body = plain.request(READ).split(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 9]), body[at : at + 9]) for at in range(0, len(body), 9))
    chunked = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n" + chunks + b"0\r\n\r\n"

    assert await plain.answers(chunked + chunked, count=2) == [answered(NOTHING)] * 2


async def test_who_wants_to_be_asked_to_go_on_is(plain: Plain) -> None:
    found = await plain.answers(plain.request(READ, "Expect: 100-continue"), count=2)

    assert found == [(b"HTTP/1.1 100 Continue", [], b""), answered(NOTHING)]


@pytest.mark.parametrize(("version", "headers"), [("1.1", ["Connection: close"]), ("1.0", [])])
async def test_who_will_not_go_on_has_the_connection_closed(plain: Plain, version: str, headers: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(plain.request(READ, *headers, version=version) + plain.request(READ))

    assert await asyncio.wait_for(plain.answer(reader), 20) == answered(NOTHING, b"connection: close")
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


@pytest.mark.parametrize("is_cut", [False, True])
async def test_trailers_are_no_headers(plain: Plain, is_cut: bool) -> None:
    """Else a client behind a proxy would choose its address, or another key."""
    head, body = plain.request(READ).split(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    chunked = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(body), body)
    trailers = b"Authorization: NodeKey another\r\nContent-Encoding: gzip\r\n\r\n"
    pieces = (chunked, trailers) if is_cut else (chunked + trailers,)

    for _ in range(2):
        assert await plain.answers(*pieces, count=1) == [answered(NOTHING)]


async def test_a_last_answer_that_is_not_taken_is_dropped(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    lost = ShortcutProtocol.connection_lost
    monkeypatch.setattr(ShortcutProtocol, "connection_lost", lambda self, exc: (ended.append(self), lost(self, exc)))
    plain.house.merger.body = b'{"options":{"x":"%s"}}' % (b"x" * 7_000_000)

    for headers in ((), ("Connection: close",)):  # the first one has it fetched
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", plain.port))
            raw.sendall(plain.request(CONFIG, *headers))
            await eventually(lambda: ended, timeout=20)
        ended.clear()

    await eventually(lambda: plain.house.gateway.counters.requests == {"config": 2})


async def test_what_is_sent_behind_our_close_is_not_begun(house: House) -> None:
    port = choose_port()
    door = create_app(Deps(house.gateway), plain_is_shared=False)
    serving = asyncio.create_task(listen_plain(door, "127.0.0.1", port, PATIENCE))
    await eventually(lambda: is_listening(port), timeout=30.0)
    plain = Plain(house, port, door, serving)
    log = plain.request(LOG, log_type="result", data=[{"a": "1"}])
    stock = plain.request(READ, "User-Agent: osquery/5.17.0")
    await plain.answers(stock, count=1)  # the first one asks inventory for the key

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(stock + log + stock)

    assert await asyncio.wait_for(plain.answer(reader), 20) == answered(NOTHING, b"connection: close")
    assert await asyncio.wait_for(reader.read(), 20) == b""
    assert house.gateway.counters.requests == {"distributed_read": 2}
    writer.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_bug_is_answered_with_error(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(plain.house.gateway.hosts, "find", broken)

    ((first, _, body),) = await plain.answers(plain.request(READ), count=1)

    assert (first, body) == (b"HTTP/1.1 500 Internal Server Error", b'{"error":"internal"}')
    assert plain.house.gateway.counters.failures["internal"] == 1


async def test_a_connection_that_polls_no_more_is_closed(plain: Plain) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(plain.request(READ))

    assert await asyncio.wait_for(plain.answer(reader), 20) == answered(NOTHING)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_stop_waits_for_a_post_that_has_begun_to_come(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut, "HOLD_SECONDS", 60.0)
    await plain.answers(plain.request(READ), count=1)
    log = plain.request(LOG, log_type="result", data=[{"a": "1"}])
    began = asyncio.Event()
    complete = ShortcutProtocol.on_headers_complete
    monkeypatch.setattr(ShortcutProtocol, "on_headers_complete", lambda self: (complete(self), began.set()))
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(log[:-5])
    await asyncio.wait_for(began.wait(), 20)
    plain.serving.cancel()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(plain.serving), 0.5)  # it has begun to stop, and waits
    assert not plain.serving.done()
    writer.write(log[-5:])

    assert (await asyncio.wait_for(plain.answer(reader), 20))[2] == b"{}"
    with pytest.raises(asyncio.CancelledError):
        await plain.serving
    assert plain.house.gateway.counters.lines["result"] == 1
    writer.close()


async def test_a_stop_closes_connections_that_have_been_answered(plain: Plain) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(plain.request(READ))
    await asyncio.wait_for(plain.answer(reader), 20)
    plain.serving.cancel()

    assert await asyncio.wait_for(reader.read(), 10) == b""
    with pytest.raises(asyncio.CancelledError):
        await plain.serving
    writer.close()
