"""The two listeners on real sockets: TLS and its renewal, closing, draining."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from agent_gateway.certificate import Certificate
from agent_gateway.listeners import BACKLOG, listen_plain, listen_tls
from agent_gateway.refusals import ASK_AGAIN, LAST_RESORT
from agent_gateway.routes.door import Door
from flotilla_common.testing import eventually
from flotilla_stack.certificates import Keys, make_keys
from flotilla_stack.servers.ports import choose_port

NEVER_REUSES = "osquery/5.17.0"
KEEPS = "osquery/6.0.0"


@dataclass
class App:
    """Answers `{}`; `hold` keeps answers back."""

    hold: asyncio.Event = field(default_factory=asyncio.Event)
    inside: int = 0

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.inside += 1
        await self.hold.wait()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


@dataclass
class Listening:
    """A listener and how to speak to it."""

    port: int
    app: App
    task: asyncio.Task[None]
    tls: ssl.SSLContext | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)

    async def post(self, agent: str = KEEPS) -> bytes:
        """Post on a connection of its own; return the whole answer, until the server closes or nothing more is due."""
        reader, writer = await self.connect()
        await ask(writer, agent)
        answer = await answer_of(reader)
        writer.close()
        return answer

    async def certificate(self) -> bytes:
        """Return the certificate that the server shows."""
        _, writer = await self.connect()
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return shown


async def ask(writer: asyncio.StreamWriter, agent: str, path: str = "/api/v1/osquery/log") -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nContent-Length: 2\r\n\r\n"
    writer.write(head.encode() + b"{}")
    await writer.drain()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(2)


def new_keys(directory: Path) -> Keys:
    return make_keys(directory, datetime.datetime.now(datetime.UTC))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return new_keys(tmp_path / "keys")


def trust_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


Start = Callable[[str], Awaitable[Listening]]
"""The kind is `tls`, `plain` (behind a balancer), or `own plain` (each connection is one host's)."""


@pytest.fixture
async def start(keys: Keys) -> AsyncIterator[Start]:
    """Start a listener that answers at once."""
    started: list[Listening] = []

    async def begin(kind: str) -> Listening:
        port, app = choose_port(), App()
        app.hold.set()
        certificate = Certificate(keys.certificate, keys.key, look_seconds=0.05)
        door = Door(app, plain_is_shared=kind == "plain")
        serving = (
            listen_tls(door, "127.0.0.1", port, certificate) if kind == "tls" else listen_plain(door, "127.0.0.1", port)
        )
        listening = Listening(port, app, asyncio.create_task(serving), trust_nobody() if kind == "tls" else None)
        started.append(listening)
        await eventually(lambda: answers(listening), timeout=30.0)
        return listening

    yield begin
    for listening in started:
        listening.app.hold.set()
        listening.task.cancel()
        await asyncio.wait([listening.task])


async def answers(listening: Listening) -> bool:
    try:
        return (await listening.post()).endswith(b"{}")
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["tls", "own plain"])
async def test_the_connection_of_a_client_that_never_reuses_it_is_closed(start: Start, kind: str) -> None:
    listening = await start(kind)
    reader, writer = await listening.connect()

    await ask(writer, NEVER_REUSES)
    answer = await answer_of(reader)

    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(("kind", "agent"), [("tls", KEEPS), ("own plain", KEEPS), ("plain", NEVER_REUSES)])
async def test_any_other_connection_is_kept(start: Start, kind: str, agent: str) -> None:
    listening = await start(kind)
    reader, writer = await listening.connect()

    for _ in range(3):
        await ask(writer, agent)
        assert (await answer_of(reader)).endswith(b"{}")
    writer.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_of_tls_are_spoken(start: Start, version: ssl.TLSVersion) -> None:
    listening = await start("tls")
    listening.tls = trust_nobody()
    listening.tls.minimum_version = listening.tls.maximum_version = version

    assert (await listening.post()).endswith(b"{}")


async def test_a_renewed_certificate_is_shown_and_no_request_fails(start: Start, keys: Keys, tmp_path: Path) -> None:
    listening = await start("tls")
    before = await listening.certificate()
    failures: list[Exception] = []
    stop = asyncio.Event()

    async def host() -> None:
        """Post as osqueryd does: a new connection for each request, and one more try when it breaks."""
        while not stop.is_set():
            try:
                try:
                    await listening.post(NEVER_REUSES)
                except (OSError, asyncio.IncompleteReadError):
                    await listening.post(NEVER_REUSES)
            except Exception as error:  # noqa: BLE001 - whatever a host would have seen
                failures.append(error)

    hosts = [asyncio.create_task(host()) for _ in range(4)]
    renewed = new_keys(tmp_path / "renewed")
    keys.key.write_bytes(renewed.key.read_bytes())
    keys.certificate.write_bytes(renewed.certificate.read_bytes())
    expected = ssl.PEM_cert_to_DER_cert(renewed.certificate.read_text())

    async def only_the_new_one_is_shown() -> bool:
        try:
            return {await listening.certificate() for _ in range(8)} == {expected}
        except OSError:  # a connection without a request, cut when the first worker went: hosts open another one
            return False

    await eventually(only_the_new_one_is_shown, timeout=40.0)
    stop.set()
    await asyncio.gather(*hosts)
    assert before != expected
    assert failures == []


async def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_force(
    start: Start, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    listening = await start("tls")
    before = await listening.certificate()

    keys.certificate.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    said = ""

    def has_been_refused() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "the old one stays" in said

    await eventually(has_been_refused)
    assert await listening.certificate() == before


@pytest.mark.parametrize("kind", ["tls", "plain"])
async def test_a_request_that_is_inside_is_answered_before_the_listener_ends(start: Start, kind: str) -> None:
    listening = await start(kind)
    listening.app.hold.clear()
    before = listening.app.inside
    asking = asyncio.create_task(listening.post())
    await eventually(lambda: listening.app.inside > before)

    listening.task.cancel()
    asyncio.get_running_loop().call_later(0.3, listening.app.hold.set)

    assert (await asking).endswith(b"{}")
    with contextlib.suppress(asyncio.CancelledError):
        await listening.task


@pytest.mark.parametrize(("path", "said"), [("/x", LAST_RESORT), ("/api/v1/osquery/carve/block", ASK_AGAIN)])
async def test_a_request_that_is_not_over_when_the_listener_ends_gets_an_error(
    start: Start, path: str, said: bytes
) -> None:
    listening = await start("plain")
    listening.app.hold.clear()
    before = listening.app.inside
    reader, writer = await listening.connect()
    await ask(writer, KEEPS, path)
    await eventually(lambda: listening.app.inside > before)

    listening.task.cancel()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(said)


async def test_a_port_that_is_taken_is_said(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])

        with pytest.raises(RuntimeError) as caught:
            await listen_tls(Door(App()), "127.0.0.1", port, Certificate(keys.certificate, keys.key))

    assert "Address already in use" in repr(caught.value.__cause__)


async def test_more_connections_are_held_than_wait_to_be_accepted(start: Start) -> None:
    listening = await start("tls")
    opened = [await listening.connect() for _ in range(BACKLOG + 50)]

    answer = await asyncio.wait_for(listening.post(), 20)

    assert answer.endswith(b"{}")
    for _, writer in opened:
        writer.close()


async def test_what_is_no_http_gets_an_error_that_osqueryd_takes_for_one(start: Start) -> None:
    listening = await start("plain")
    reader, writer = await listening.connect()

    writer.write(b"POST /api/v1/osquery/log HTTP/1.1\r\nContent-Length: many\r\n\r\n")

    assert (await reader.read()).endswith(b'\r\n\r\n{"error":"malformed_request"}')
    writer.close()
