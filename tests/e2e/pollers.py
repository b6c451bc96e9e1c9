"""Many polls, fast: kept connections and blocking sockets, so that the gateways are what is busy."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS = 16
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Poll:
    """A request, ready to be sent, and the body that must be answered, byte for byte."""

    request: bytes
    answer: bytes


def poll_of(path: str, body: bytes, answer: bytes) -> Poll:
    """Return a poll as a client sends it that keeps its connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: osquery/6.0.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return Poll(head.encode() + body, answer)


def poll(url: str, polls: Sequence[Poll], count: int, tls: ssl.SSLContext) -> int:
    """Send so many polls, in turn, to one port of a gateway; return how many were answered right. It blocks.

    `tls` is used where the URL says https.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(url, tls)) for _ in range(CONNECTIONS)]
        return sum(_rounds(connections, itertools.islice(itertools.cycle(polls), count)))


def _connected(url: str, tls: ssl.SSLContext) -> socket.socket:
    address = urlsplit(url)
    name = address.hostname or ""
    connection = socket.create_connection((name, address.port or 0), timeout=TIMEOUT_SECONDS)
    return tls.wrap_socket(connection, server_hostname=name) if address.scheme == "https" else connection


def _rounds(connections: list[socket.socket], polls: Iterator[Poll]) -> Iterator[int]:
    """Have one poll on its way on each connection."""
    while batch := list(itertools.islice(polls, len(connections))):
        under_way = list(zip(connections, batch, strict=False))
        for connection, one in under_way:
            connection.sendall(one.request)
        yield sum(_answer(connection, len(one.answer)) == one.answer for connection, one in under_way)


def _answer(connection: socket.socket, length: int) -> bytes:
    """Return the body of the answer; that of a success is as long as it must be."""
    received = connection.recv(65536)
    while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + length:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received[end + 4 :] if received.startswith(b"HTTP/1.1 200 ") else b""
