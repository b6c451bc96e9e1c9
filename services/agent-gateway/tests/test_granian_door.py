"""What the TLS port's adapter tells the door of a request, by ASGI, and what it makes of its answer."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from agent_gateway import granian_door
from agent_gateway.certificate import Certificate
from agent_gateway.granian_door import Exchange
from agent_gateway.listeners import listen_tls
from agent_gateway.refusals import ASK_AGAIN, LAST_RESORT
from agent_gateway.routes.door import Door
from flotilla_common.testing import eventually
from flotilla_stack.certificates import make_keys
from flotilla_stack.servers.ports import choose_port

from .listening import is_listening

LARGE = b"x" * 200_000


@dataclass
class Recorder:
    """Keeps what it is told, until the body has ended or the client is gone; answers in two pieces."""

    scopes: list[dict[str, Any]] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    answers: bool = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        while True:
            self.heard.append(await receive())
            if self.heard[-1]["type"] == "http.disconnect":
                return
            if not self.heard[-1]["more_body"] and self.answers:
                break
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-name", b"1")]})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        self.heard.append(await receive())

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.heard)


@dataclass
class Speaking:
    """A recorder behind a TLS listener."""

    app: Recorder
    door: Door
    port: int
    tls: ssl.SSLContext

    async def send(self, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        for piece in pieces:
            heard = len(self.app.heard)
            writer.write(piece)
            if piece is not pieces[-1]:
                await eventually(lambda heard=heard: len(self.app.heard) > heard or not heard)
        return reader, writer

    async def post(self, *pieces: bytes) -> bytes:
        reader, writer = await self.send(*pieces)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return answer


@pytest.fixture
async def speaking(tmp_path: Path) -> AsyncIterator[Speaking]:
    keys = make_keys(tmp_path / "keys", datetime.datetime.now(datetime.UTC))
    app, port = Recorder(), choose_port()
    door = Door(app)
    serving = asyncio.create_task(listen_tls(door, "127.0.0.1", port, Certificate(keys.certificate, keys.key)))
    await eventually(lambda: is_listening(port), timeout=30.0)
    yield Speaking(app, door, port, ssl.create_default_context(cafile=str(keys.ca)))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def head(*headers: str, path: str = "/a%20b?x=%20y") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Connection: close", *headers]).encode() + b"\r\n\r\n"


async def test_the_head_is_told_in_asgi_words(speaking: Speaking) -> None:
    await speaking.post(head("Content-Length: 0", "X-Twice: 1", "X-Twice: 2"))

    (scope,) = speaking.app.scopes
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == ("127.0.0.1", speaking.port)
    expected = {"type": "http", "scheme": "https", "http_version": "1.1", "method": "POST", "path": "/a b"}
    assert {name: scope[name] for name in expected} == expected
    assert scope["query_string"] == b"x=%20y"
    assert [value for name, value in scope["headers"] if name == b"x-twice"] == [b"1", b"2"]
    assert (b"host", b"x") in scope["headers"]


async def test_an_answer_in_pieces_goes_out_whole_and_the_client_is_gone_for_the_door(speaking: Speaking) -> None:
    answer = await speaking.post(head("Content-Length: 2"), b"{}")

    first, *headers = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert first == b"HTTP/1.1 201 Created"
    assert {b"x-name: 1", b"content-length: 7"} <= set(headers)
    assert answer.endswith(b"\r\n\r\none two")
    assert speaking.app.heard[-1] == {"type": "http.disconnect"}


@pytest.mark.parametrize("body", [b"", b"{}", LARGE], ids=["none", "small", "large"])
async def test_a_body_of_known_length_comes_whole(speaking: Speaking, body: bytes) -> None:
    await speaking.post(head(f"Content-Length: {len(body)}"), body)

    assert speaking.app.body == body


async def test_a_request_without_a_body_has_none(speaking: Speaking) -> None:
    await speaking.post(head())

    assert speaking.app.body == b""


async def test_pieces_come_as_they_are_sent(speaking: Speaking) -> None:
    await speaking.post(head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n")

    assert speaking.app.body == b"abcde"
    assert [message["more_body"] for message in speaking.app.heard[:-1]].count(False) == 1


@pytest.mark.parametrize("length", [10, len(LARGE)], ids=["small", "large"])
async def test_a_body_that_breaks_off_is_none(speaking: Speaking, length: int) -> None:
    _, writer = await speaking.send(head(f"Content-Length: {length}") + b"abc")
    await eventually(lambda: speaking.app.scopes)
    writer.close()

    await eventually(lambda: speaking.app.heard and speaking.app.heard[-1] == {"type": "http.disconnect"})
    assert all(message.get("more_body", True) for message in speaking.app.heard)


async def test_who_leaves_before_the_answer_is_missed(speaking: Speaking) -> None:
    speaking.app.answers = False
    _, writer = await speaking.send(head("Content-Length: 2") + b"{}")
    await eventually(lambda: speaking.app.body == b"{}")
    writer.close()

    await eventually(lambda: speaking.app.heard[-1] == {"type": "http.disconnect"})


def said(answer: bytes) -> tuple[bytes, bytes]:
    first, _, body = answer.partition(b"\r\n\r\n")
    return first.split(b" ", 2)[1], body


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), None], ids=["cancelled", "nothing"])
async def test_what_ends_without_an_answer_is_answered_with_an_error(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch, failure: BaseException | None
) -> None:
    async def handle(*_: Any) -> None:
        if failure is not None:
            raise failure

    monkeypatch.setattr(speaking.door, "handle", handle)

    assert said(await speaking.post(head("Content-Length: 0"))) == (b"500", LAST_RESORT)
    assert speaking.door.inside == 0


async def test_a_body_that_its_client_ends_early_is_answered_with_an_error(speaking: Speaking) -> None:
    """A client that says that no more comes, but listens on, may be a host behind a proxy."""
    assert said(await half_closed(speaking, head("Content-Length: 100") + b"{")) == (b"500", LAST_RESORT)


async def half_closed(speaking: Speaking, sent: bytes) -> bytes:
    """Return what is answered to a TLS client that ends its direction after some bytes; asyncio's cannot."""

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", speaking.port), timeout=20) as raw:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = speaking.tls.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")

            def until_done(step: Callable[[], object]) -> None:
                while True:
                    try:
                        step()
                    except ssl.SSLWantReadError:
                        raw.sendall(outgoing.read())
                        incoming.write(raw.recv(65536))
                    else:
                        raw.sendall(outgoing.read())
                        return

            until_done(tls.do_handshake)
            until_done(lambda: tls.write(sent))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
            raw.sendall(outgoing.read())
            while piece := raw.recv(65536):
                incoming.write(piece)
            return tls.read(65536)

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Authorization"])
async def test_a_header_that_is_not_shown_is_not_passed_over(speaking: Speaking, name: str) -> None:
    answer = await speaking.post(head("Content-Length: 0", f"{name}: \u00e9, 203.0.113.5"))

    assert said(answer) == (b"400", b'{"error":"malformed_header"}')
    assert speaking.app.scopes == []


async def test_other_headers_may_hold_anything(speaking: Speaking) -> None:
    assert said(await speaking.post(head("Content-Length: 0", "X-Name: \u00e9")))[0] == b"201"


async def test_small_bodies_that_do_not_come_cannot_hold_much(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond so much of them the next ones are taken as they come, when they are in the count of memory."""
    monkeypatch.setattr(granian_door, "WAITED_BYTES", 150)
    waiting = [await speaking.send(head("Content-Length: 100") + b"x" * 99) for _ in range(2)]
    await eventually(lambda: len(speaking.app.scopes) == 2)
    await eventually(lambda: [message["body"] for message in speaking.app.heard] == [b"x" * 99])

    for _, writer in waiting:
        writer.write(b"x")
    for reader, writer in waiting:
        assert said(await asyncio.wait_for(reader.read(), 20))[0] == b"201"
        writer.close()
    monkeypatch.setattr(granian_door, "WAITED_BYTES", 100)
    heard = len(speaking.app.heard)
    assert said(await speaking.post(head("Content-Length: 100") + b"x" * 100))[0] == b"201"
    assert [len(message.get("body", b"")) for message in speaking.app.heard[heard:]] == [100, 0]


async def test_what_was_waited_for_is_forgotten_however_it_ends(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = []

    async def piece(exchange: Exchange) -> dict[str, Any]:
        pieces.append(exchange)
        return await Exchange._piece(exchange)

    monkeypatch.setattr(granian_door, "WAITED_BYTES", 100)
    whole = head("Content-Length: 100") + b"x" * 100
    await speaking.post(whole)
    _, leaver = await speaking.send(head("Content-Length: 100") + b"x")
    await eventually(lambda: len(speaking.app.scopes) == 2)
    leaver.close()
    await eventually(lambda: speaking.app.heard[-1] == {"type": "http.disconnect"} and not speaking.door.inside)
    monkeypatch.setattr(Exchange, "_piece", piece)

    assert said(await speaking.post(whole))[0] == b"201"
    assert pieces == []


ORBIT = "/api/fleet/orbit/enroll"
BLOCK = "/api/v1/osquery/carve/block"


async def test_what_fails_at_last_is_said_in_the_words_of_its_path(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A carver does not notice `error`: it repeats what is no JSON. Orbit restarts when a capability goes."""
    hidden = await speaking.post(head("Content-Length: 0", "Authorization: \u00e9", path=ORBIT))

    async def handle(*_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(speaking.door, "handle", handle)
    block, orbit = [await speaking.post(head("Content-Length: 0", path=path)) for path in (BLOCK, ORBIT)]

    assert said(block) == (b"500", ASK_AGAIN)
    assert b"content-type: text/plain" in block
    assert b"x-fleet-capabilities: orbit_endpoints" in orbit
    assert said(orbit) == (b"500", LAST_RESORT)
    assert b"x-fleet-capabilities: orbit_endpoints" in hidden
    assert json.loads(said(hidden)[1])["error"] == "malformed_header"
