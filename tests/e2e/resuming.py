"""Viewers of live queries that come back: after what broke, or because they left, each with its last position."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from .people import API, Person

BACK_SECONDS = 0.3
STAYS_SECONDS = (1.0, 4.0)


@dataclass
class Resuming:
    """One viewer of one campaign. It leaves by itself so many times, after some seconds each."""

    person: Person
    campaign_id: int
    choice: random.Random
    leaves: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    last: str | None = None
    came: int = 0
    sent_away: list[tuple[float, str]] = field(default_factory=list)
    """When it was shown the door, or the connection broke, while it watched; Unix seconds."""
    is_admitted: bool = False

    async def watch(self) -> None:
        """Watch until cancelled."""
        address = str(self.person.client.base_url).replace("https://", "wss://").rstrip("/")
        while True:
            try:
                async with websockets.connect(
                    f"{address}{API}/results/websocket",
                    ssl=self.person.trust,
                    max_size=None,
                    open_timeout=20,
                    ping_interval=None,
                ) as socket:
                    await self._converse(socket)
            except (OSError, TimeoutError, WebSocketException) as error:
                self._lost(repr(error))
            self.is_admitted = False
            await asyncio.sleep(BACK_SECONDS)

    async def _converse(self, socket: ClientConnection) -> None:
        selection = {"campaign_id": self.campaign_id} | ({"last": self.last} if self.last else {})
        await socket.send(json.dumps({"type": "auth", "data": {"token": self.person.token}}))
        await socket.send(json.dumps({"type": "select_campaign", "data": selection}))
        self.came += 1
        leaves_at = time.monotonic() + self.choice.uniform(*STAYS_SECONDS) if self.leaves else None
        while True:
            left = None if leaves_at is None else max(leaves_at - time.monotonic(), 0)
            try:
                async with asyncio.timeout(left):
                    text = await socket.recv()
            except TimeoutError:
                self.leaves -= 1
                return
            if not self._note(json.loads(text)):
                return

    def _note(self, message: dict[str, Any]) -> bool:
        """Take one message into account; False: it is the last one."""
        if message["type"] == "error":
            self._lost(str(message["data"]))
            return False
        self.is_admitted = True
        if message["type"] == "result":
            self.results.append(message["data"])
            self.last = message["position"]
        return True

    def _lost(self, why: str) -> None:
        if self.is_admitted:
            self.sent_away.append((time.time(), why))
