"""The ledger and the dead letters of log destinations, as people read them while everything fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from .log_hosts import ids_of
from .people import API, Person

READ_SECONDS = 10.0
PAGE = 50
STATES = ("filtered", "delivered", "dead_lettered", "pending")
Row = dict[str, Any]


@dataclass
class BooksWatch:
    """Reads the ledger every second: does it add up, and does nothing of it go back?"""

    person: Person
    looks: int = 0
    unread: int = 0
    wrong: list[str] = field(default_factory=list)
    is_over: bool = False
    _before: dict[tuple[str, str], Row] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def watch(self) -> None:
        """Look until told to stop."""
        while not self.is_over:
            began = time.time()
            try:
                await self.look()
            except (AssertionError, httpx2.HTTPError):
                self.unread += 1  # Postgres is down, or NATS
            await asyncio.sleep(max(0.0, began + 1.0 - time.time()))

    async def look(self) -> list[Row]:
        """Read the ledger once.

        Raises:
            AssertionError, httpx2.HTTPError: it cannot be read now.

        """
        async with self._turn:  # of two looks at a time the older one may come back last
            reply = await self.person.client.get(f"{API}/logs/ledger", timeout=READ_SECONDS)
            assert reply.is_success, reply.text
            rows: list[Row] = reply.json()["ledger"]
            self.looks += 1
            for row in rows:
                self._check(row)
            return rows

    def _check(self, row: Row) -> None:
        key = row["destination"], row["log_type"]
        before = self._before.get(key, {})
        if row["received"] != sum(row[state] for state in STATES):
            self.wrong.append(f"it does not add up: {row}")
        if any(row[state] < before.get(state, 0) for state in ("received", "filtered", "duplicates")):
            self.wrong.append(f"it takes back: {before}, then {row}")
        self._before[key] = row


@dataclass
class Letters:
    """Dead letters of a destination: their lines, those that could be read by id, and the reasons."""

    lines: int = 0
    found: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    is_whole: bool = True
    """Whether every line could be read."""


async def letters_of(person: Person, destination: str) -> Letters:
    """Read all dead letters of a destination."""
    letters, after = Letters(), 0
    while True:
        page = await person.call("GET", "/logs/dead_letters", destination=destination, after=after, per_page=PAGE)
        paths = [f"/logs/dead_letters/{letter['id']}" for letter in page["dead_letters"]]
        holding = await asyncio.gather(*(person.call("GET", path) for path in paths))
        for letter, held in zip(page["dead_letters"], holding, strict=True):
            letters.lines += letter["lines"]
            letters.reasons[letter["reason"][:60]] += letter["lines"]
            letters.found.update(ids_of("\n".join(held["dead_letter"]["contents"]).encode()))
            letters.is_whole &= not held["dead_letter"]["is_cut"]
            after = letter["id"]
        if not page["dead_letters"]:
            return letters
