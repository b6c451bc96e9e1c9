"""What a client that is slow, or does not keep to the rules, may cost: a connection for a while, and never the others'.

uvicorn waits for ever for the head of a request, and takes one of any size; a server of either kind waits for ever for
a client that takes nothing of its answer. (granian, by hyper, limits heads to 400 KiB; the time for one is a setting.)
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agent_gateway.domain.surfaces import CLOSE
from agent_gateway.last_resort import refused

log = structlog.get_logger()

BESIDE_BODY_BYTES = 256 * 1024  # what may come in one go that is no body: heads, ends of chunks, trailers
FIND_TIMES = 200
FIND_STEP_SECONDS = 0.05


@dataclass(frozen=True)
class Patience:
    """How long a connection is waited for. `keep_alive_seconds`: for a whole head, from the answer before or the start.

    `stuck_seconds`: for a client that takes nothing of its answer.
    """

    keep_alive_seconds: int = 90  # longer than a host's interval
    stuck_seconds: float = 30.0


PATIENCE = Patience()


class PunctualProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose keep-alive time is also that for a whole head, and for taking the answer before.

    What it overrides are the methods by which asyncio, the parser and a finished answer call.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._waiting_since: float | None = self.loop.time()
        self._beside_body = 0
        self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes, unless too much has come that is no body."""
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body > BESIDE_BODY_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Wait no longer: a request is being answered. What follows as trailers is none of its headers.

        With an upgrade, which nobody here offers, the parser ends a request at its head and takes the body for another
        one: behind a balancer that would be a second answer, for somebody else.
        """
        self._waiting_since, self._beside_body = None, 0
        if self.transport.is_closing():
            return
        if self.parser.should_upgrade() and _has_body(self.headers):
            self.send_400_response("an upgrade with a body")
            return
        super().on_headers_complete()
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless it comes behind our last answer."""
        self._beside_body = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request, unless it comes behind our last answer."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head, unless that has come already."""
        self._waiting_since = None if self.pipeline else self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words, no JSON
        """Answer what is no HTTP, and close: without `error` it would be a success to osqueryd.

        Without an answer where an earlier request is still to get its own: it would be taken for that.
        """
        cycle = self.cycle
        if self.pipeline or (cycle is not None and cycle.response_complete == cycle.more_body):
            self.transport.abort()
            return
        _, headers, body = refused(self._path_so_far(), 400, "malformed_request")
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in (*headers, CLOSE))
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%s\r\n%s" % (lines, body))
        self.transport.close()

    def _path_so_far(self) -> str:
        """Return what is known of the path that is being read: orbit and the desktop hear in words of their own."""
        url: bytes = getattr(self, "url", b"")
        return unquote(url.partition(b"?")[0].decode("ascii", "replace"))

    def _look(self) -> None:
        wait: float = self.timeout_keep_alive
        if self._waiting_since is not None:
            wait -= self.loop.time() - self._waiting_since
        if wait > 0:
            self._watch = self.loop.call_later(wait, self._look)
        elif self.transport.get_write_buffer_size():
            self.transport.abort()  # to close would be to wait until it is taken
        else:
            self.transport.close()


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


async def drop_the_stuck(port: int, seconds: float) -> None:
    """Have the system drop connections to a port on which we listen, or will, whose peer takes nothing for so long.

    Accepted connections inherit it from the listening socket. (On systems that can do this.)
    """
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    for _ in range(FIND_TIMES):
        if await asyncio.to_thread(_limit_waiting, port, int(seconds * 1000)):
            return
        await asyncio.sleep(FIND_STEP_SECONDS)
    log.warning("clients that take nothing will be waited for: no listening socket was found", port=port)


def _limit_waiting(port: int, milliseconds: int) -> int:
    """Set the time on every listening socket of this process that does not have it; return how many those were.

    granian makes its sockets inside and shows none.
    """
    return sum(_limit_socket(descriptor, port, milliseconds) for descriptor in _descriptors())


def _descriptors() -> list[int]:
    return [int(entry.name) for entry in Path("/dev/fd").iterdir()]


def _limit_socket(descriptor: int, port: int, milliseconds: int) -> bool:
    try:
        copy = os.dup(descriptor)
    except OSError:  # closed since it was listed
        return False
    try:
        found = socket.socket(fileno=copy)
    except OSError:  # no socket
        os.close(copy)
        return False
    with found:
        if found.family not in {socket.AF_INET, socket.AF_INET6} or not _is_listening(found, port):
            return False
        if found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds:
            return False
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return True


def _is_listening(found: socket.socket, port: int) -> bool:
    is_listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(is_listening) and found.getsockname()[1] == port
