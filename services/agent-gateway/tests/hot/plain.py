"""A gateway's plain port on real sockets, as the tests of this folder speak to it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from agent_gateway.routes.door import Door
from agent_gateway.slow_clients import Patience

from ..conftest import House

READ, CONFIG, LOG = "/api/v1/osquery/distributed/read", "/api/osquery/config", "/api/v1/osquery/log"
WRITE = "/api/v1/osquery/distributed/write"
NOTHING = b'{"queries":{}}'
PATIENCE = Patience(keep_alive_seconds=1, stuck_seconds=60.0)


@dataclass
class Plain:
    """A gateway's plain port, with the shortcut or without."""

    house: House
    port: int
    door: Door
    serving: asyncio.Task[None]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.house.inventory.add_host(1)

    def request(self, path: str, *headers: str, version: str = "1.1", **more: object) -> bytes:
        body = json.dumps({"node_key": self.key} | more).encode()
        lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def answers(self, *pieces: bytes, count: int) -> list[tuple[bytes, list[bytes], bytes]]:
        """Send pieces over one connection, each once the one before can have been read; return what was answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        async with asyncio.timeout(20):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            found = [await self.answer(reader) for _ in range(count)]
        writer.close()
        return found

    async def answer(self, reader: asyncio.StreamReader) -> tuple[bytes, list[bytes], bytes]:
        """Return status line, headers but for the date, and body."""
        first, *headers = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        length = next((int(line.split(b": ")[1]) for line in headers if line.startswith(b"content-length")), 0)
        return first, [line for line in headers if not line.startswith(b"date: ")], await reader.readexactly(length)


def answered(body: bytes, *more: bytes) -> tuple[bytes, list[bytes], bytes]:
    headers = [b"content-length: %d" % len(body), b"content-type: application/json", *more]
    return b"HTTP/1.1 200 OK", headers, body
