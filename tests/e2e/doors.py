"""Doors for hosts that come and go: kept plain connections to one gateway, and what the gateway counts."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from .machines import PREFIX

ANSWER_SECONDS = 16.0  # osqueryd's own patience
ANSWERS = re.compile(r'^flotilla_gateway_campaign_answers_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)


class NoAnswer(Exception):
    """Nothing whole came back: nobody knows what became of the request."""


class Refused(NoAnswer):
    """An answer came back that has an error: the gateway took nothing."""


@dataclass
class Gateway:
    """One gateway, through all its lives. What it counts begins at 0 in each of them."""

    name: str
    host: str
    port: int
    metrics_url: str
    life: int = 0
    takes_strangers: bool = True
    """False while it is about to be killed: what it counts then could not be read any more."""
    strangers_inside: int = 0
    known: set[int] = field(default_factory=set)
    """Campaigns that it has offered to somebody in this life."""
    counted: dict[str, int] = field(default_factory=dict)
    """Answers to campaigns by outcome, of earlier lives."""

    async def counts(self) -> dict[str, int]:
        """Return answers to campaigns by outcome, of all its lives."""
        async with httpx2.AsyncClient(timeout=10) as http:
            text = (await http.get(self.metrics_url)).text
        found = {outcome: round(float(count)) for outcome, count in ANSWERS.findall(text)}
        return {outcome: found.get(outcome, 0) + self.counted.get(outcome, 0) for outcome in {*found, *self.counted}}

    def dies(self, counted: dict[str, int]) -> None:
        """Note that this life is over."""
        self.counted, self.known = counted, set()
        self.life += 1


def gateways_of(dev: dict[str, Any]) -> list[Gateway]:
    """Return the gateways of a running stack."""
    found = []
    for number, gateway in enumerate(dev["gateways"], 1):
        address = urlsplit(gateway["plain_url"])
        found.append(
            Gateway(f"agent-gateway-{number}", address.hostname or "", address.port or 80, gateway["metrics_url"])
        )
    return found


class Door:
    """A connection that is kept as long as it works, and made when it is needed."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        """Break the connection, as a crash does."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def post(self, gateway: Gateway, path: str, body: bytes, *, reads_answer: bool = True) -> dict[str, Any]:
        """Send what osqueryd would and return the answer's object; without `reads_answer` the host dies sending.

        Raises:
            NoAnswer: there is nobody, the connection broke, it took too long, or the answer is no JSON object.

        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._connect(gateway)
                return await self._exchange(path, body, reads_answer=reads_answer)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.close()
            raise NoAnswer(repr(error)) from error
        except asyncio.CancelledError:
            self.close()
            raise

    async def _connect(self, gateway: Gateway) -> None:
        if self._writer is not None and self._gateway is gateway:
            return
        self.close()
        self._reader, self._writer = await asyncio.open_connection(gateway.host, gateway.port)
        self._gateway = gateway

    async def _exchange(self, path: str, body: bytes, *, reads_answer: bool) -> dict[str, Any]:
        assert self._reader is not None
        assert self._writer is not None
        head = f"POST {PREFIX}{path} HTTP/1.1\r\nHost: x\r\nUser-Agent: osquery/6.0.0\r\nContent-Length: {len(body)}"
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        await self._writer.drain()
        if not reads_answer:
            self.close()
            raise NoAnswer("the host died")
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        content = json.loads(await self._reader.readexactly(length))
        if b"connection: close" in answer:
            self.close()
        if not isinstance(content, dict):
            raise NoAnswer(f"{path}: {content}")
        return content
