"""The two ways in which viewers speak: plain JSON texts, or SockJS frames around them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from fastapi import WebSocket, WebSocketDisconnect

from admin_api.domain import sockjs

SEND_SECONDS = 60.0  # a viewer that takes nothing for so long is gone
UNSENT_BYTES = 128 * 1024  # of one viewer in the kernel: behind megabytes a slow one would wait minutes for a pong
LONGEST_MESSAGE = 64 * 1024  # bytes of one message from a viewer
SERVER_OPTIONS: dict[str, Any] = {
    "ws_max_size": LONGEST_MESSAGE,
    "ws_ping_timeout": SEND_SECONDS,  # a slow viewer answers a ping only when it has taken what was sent before
    "ws_per_message_deflate": False,  # megabytes of rows for each of many viewers would stop the event loop
}
"""What the HTTP server must be told for these sockets."""


class Refused(Exception):
    """The viewer gets this text as an `error` message, and the connection ends."""


class TakesNothing(Exception):
    """The viewer has not taken what was sent for SEND_SECONDS."""


class ViewerSocket(Protocol):
    """A viewer's connection. Sending waits for the network, so a slow viewer holds back only itself."""

    async def open(self) -> None:
        """Take the connection."""

    async def receive(self) -> str:
        """Return the next message; raises Refused or WebSocketDisconnect."""

    async def send(self, text: str) -> None:
        """Send one message; raises TakesNothing or WebSocketDisconnect."""

    async def beat(self) -> None:
        """Show that the connection lives."""

    async def end(self) -> None:
        """Close it properly."""


class RawSocket:
    """Every frame is one JSON text. The server's own pings keep it alive."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def open(self) -> None:
        """Take the connection."""
        await self._websocket.accept()

    async def receive(self) -> str:
        """Return the next text."""
        return await _receive_text(self._websocket)

    async def send(self, text: str) -> None:
        """Send one text."""
        await _send_text(self._websocket, text)

    async def beat(self) -> None:
        """Nothing to do."""

    async def end(self) -> None:
        """Close it."""
        await self._websocket.close(1000)


class SockJSSocket:
    """SockJS over a WebSocket: frames `o`, `h`, `a` and `c` from here, arrays of texts from there."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._waiting: deque[str] = deque()

    async def open(self) -> None:
        """Take the connection and say so."""
        await self._websocket.accept()
        await _send_text(self._websocket, sockjs.OPEN)

    async def receive(self) -> str:
        """Return the next message; a frame may carry several."""
        while not self._waiting:
            try:
                self._waiting.extend(sockjs.messages_of(await _receive_text(self._websocket)))
            except sockjs.BadFrame as error:
                raise Refused("broken framing") from error
        return self._waiting.popleft()

    async def send(self, text: str) -> None:
        """Send one message."""
        await _send_text(self._websocket, sockjs.message_frame([text]))

    async def beat(self) -> None:
        """Send a heartbeat."""
        await _send_text(self._websocket, sockjs.HEARTBEAT)

    async def end(self) -> None:
        """Say that it ends, then close it."""
        await _send_text(self._websocket, sockjs.close_frame(*sockjs.GO_AWAY))
        await self._websocket.close(1000)


async def _receive_text(websocket: WebSocket) -> str:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code") or 1005)
    text: str | None = message.get("text")
    if text is None:
        raise Refused("messages must be texts")
    return text


async def _send_text(websocket: WebSocket, text: str) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await websocket.send_text(text)
    except TimeoutError as error:
        raise TakesNothing from error
