"""A stand-in for the first words of a broker that asks for a password (PLAIN): the mock cluster has no SASL.

It answers ApiVersions, SaslHandshake and SaslAuthenticate, and refuses all that come after.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
FAILED = 58


class SaslBroker:
    """Takes one password."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self.brokers = ""
        self.users: list[bytes] = []

    @asynccontextmanager
    async def served(self) -> AsyncIterator[SaslBroker]:
        """Listen."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.brokers = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield self
        server.close()
        await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                [size] = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                api, version, number, client = struct.unpack(">hhih", request[:10])
                answer = self._answer(api, version, request[10 + max(client, 0) :])
                writer.write(struct.pack(">ii", len(answer) + 4, number) + answer)
        except (asyncio.IncompleteReadError, KeyError):
            writer.close()

    def _answer(self, api: int, version: int, body: bytes) -> bytes:
        if api == API_VERSIONS:
            known = [(API_VERSIONS, 0, 0), (HANDSHAKE, 0, 1), (AUTHENTICATE, 0, 0)]
            throttle = struct.pack(">i", 0) if version else b""
            return struct.pack(">hi", 0, len(known)) + b"".join(struct.pack(">hhh", *one) for one in known) + throttle
        if api == HANDSHAKE:
            return struct.pack(">hih", 0, 1, 5) + b"PLAIN"
        if api == AUTHENTICATE:
            _, user, password = body[4:].split(b"\0")
            self.users.append(user)
            return struct.pack(">hhi", 0 if password == self._password else FAILED, -1, 0)
        raise KeyError(api)
