"""Hosts that share a kept plain connection to a gateway, as behind a balancer; one request at a time."""

from __future__ import annotations

import asyncio
from typing import Self

import msgspec
from flotilla_common.contracts.campaigns import QUERY_PREFIX

from bench.door.place import PREFIX
from bench.fleet import node_key
from bench.load_client import KEPT_AGENT, LoadFailed

ANSWER_SECONDS = 30.0


class KeptConnection:
    """A context manager; the connection is open while it is entered."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def read(self, number: int) -> list[str]:
        """Poll for a host; return the names of the queries that it is to run.

        Raises:
            LoadFailed: the gateway answers otherwise, or not at all.

        """
        return names_in(await self.post("/distributed/read", b'{"node_key":"%s"}' % node_key(number).encode()))

    async def post(self, path: str, body: bytes) -> bytes:
        """Send a request and return the body of the answer, which must be a success.

        Raises:
            LoadFailed: it is none, or does not come.

        """
        head = f"POST {PREFIX}{path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {KEPT_AGENT}\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                received = await self._reader.readuntil(b"\r\n\r\n")
                length = int(received.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                answer = await self._reader.readexactly(length)
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise LoadFailed(f"{path} at port {self._port} was not answered: {error!r}") from error
        if not received.startswith(b"HTTP/1.1 200 "):
            raise LoadFailed(f"{path} at port {self._port}: {received[:100]!r}")
        return answer


def names_in(answer: bytes) -> list[str]:
    """Return the names of the queries in an answer to `distributed/read`.

    Raises:
        LoadFailed: it is no such answer.

    """
    try:
        return list(msgspec.json.decode(answer)["queries"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise LoadFailed(f"a poll was answered with {answer[:200]!r}") from error


def campaign_of(name: str) -> int:
    """Return the campaign that a query's name tells.

    Raises:
        LoadFailed: it is no campaign's.

    """
    try:
        return int(name.removeprefix(QUERY_PREFIX).split("_")[0])
    except ValueError as error:
        raise LoadFailed(f"hosts were asked {name[:200]!r}") from error
