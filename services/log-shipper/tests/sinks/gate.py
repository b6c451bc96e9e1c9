"""A stand-in for the network and for S3's moods: it passes requests on to the S3 server, or answers as S3 would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

ERROR = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>"
NO_BUCKET = (404, b"NoSuchBucket", b"The specified bucket does not exist")
DENIED = (403, b"AccessDenied", b"Access Denied")
SLOW_DOWN = (503, b"SlowDown", b"Please reduce your request rate.")
Mood = tuple[int, bytes, bytes]


class Gate:
    """`mood(method, path)` tells what a request gets: None: it is passed on; "cut": the connection ends."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind)
        self.mood: Callable[[str, str], Mood | str | None] = lambda method, path: None
        self.puts: list[str] = []
        self.busy = self.most_busy = 0
        self.endpoint = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        lines = head.split(b"\r\n")
        fields = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in lines[1:]}
        body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            mood = self.mood(method.decode(), path.decode())
            if mood is None:
                if method == b"PUT":
                    self.puts.append(path.decode())
                writer.write(await self._pass_on(head, body))
            elif not isinstance(mood, str):
                status, code, message = mood
                text = b"" if method == b"HEAD" else ERROR % (code, message)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(text)))
                writer.write(text)
            await writer.drain()
        finally:
            self.busy -= 1

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        back, forth = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        start, _, rest = head.partition(b"\r\n")
        forth.write(start + b"\r\nConnection: close\r\n" + rest + body)
        answer = await back.read()
        forth.close()
        return answer


@asynccontextmanager
async def gate(behind: str) -> AsyncIterator[Gate]:
    """Open one before a server."""
    found = Gate(behind)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    async with server:
        found.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield found
