"""The ledgers of live queries, read every second: do they add up, and is what was settled settled?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from .campaign_hosts import Asked
from .campaign_truth import ANSWERED
from .people import API, Person

READ_SECONDS = 10.0  # nothing that is down takes long to say so; a busy machine does
HOSTS_EVERY = 4  # looks
FINAL = (*sorted(ANSWERED), "expired", "cancelled", "unreachable")
STATES = (*FINAL, "pending")


@dataclass(frozen=True)
class Look:
    """One second: how many ledgers were read, and why not the others."""

    at: float
    read: int
    unread: tuple[str, ...]


@dataclass
class LedgerWatch:
    """Reads all campaigns of `asked` every second, and now and then the hosts of one of them in turn."""

    person: Person
    asked: dict[int, Asked]
    looks: list[Look] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    """Campaign -> its counts when they were last read."""
    is_over: bool = False
    _looked: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)

    async def watch(self) -> None:
        """Look until told to stop; one that is cancelled would leave sockets open."""
        turn = 0
        while not self.is_over:
            began = time.time()
            await self.look()
            turn += 1
            if self.asked and turn % HOSTS_EVERY == 0:
                await self._read_hosts(list(self.asked)[turn // HOSTS_EVERY % len(self.asked)])
            await asyncio.sleep(max(0.0, began + 1.0 - time.time()))

    async def look(self) -> Look:
        """Read the counts of all campaigns once."""
        began, ids = time.time(), list(self.asked)
        unread = [why for why in await asyncio.gather(*map(self._read_counts, ids)) if why]
        look = Look(began, len(ids) - len(unread), tuple(unread))
        self.looks.append(look)
        self._looked.set()
        return look

    async def next_look(self) -> Look:
        """Wait for the next second's look."""
        self._looked.clear()
        await self._looked.wait()
        return self.looks[-1]

    async def _get(self, path: str) -> dict[str, Any]:
        """Read something.

        Raises:
            AssertionError, httpx2.HTTPError: it cannot be read now.

        """
        reply = await self.person.client.get(API + path, timeout=READ_SECONDS)
        assert reply.is_success, f"{path}: {reply.status_code} {reply.text}"
        content: dict[str, Any] = reply.json()
        return content

    async def _read_counts(self, campaign_id: int) -> str:
        try:
            counts = (await self._get(f"/campaigns/{campaign_id}"))["campaign"]["hosts"]
        except (AssertionError, httpx2.HTTPError) as error:
            return repr(error)[:200]
        before = self.counts.get(campaign_id, {})
        self.counts[campaign_id] = counts
        if sum(counts[state] for state in STATES) != counts["targeted"]:
            self.wrong.append(f"campaign {campaign_id} does not add up: {counts}")
        if counts["targeted"] != len(self.asked[campaign_id].targets):
            self.wrong.append(f"campaign {campaign_id} has {len(self.asked[campaign_id].targets)} targets: {counts}")
        if any(counts[state] < before.get(state, 0) for state in FINAL):
            self.wrong.append(f"campaign {campaign_id} takes back: {before}, then {counts}")
        return ""

    async def _read_hosts(self, campaign_id: int) -> None:
        try:
            hosts = (await self._get(f"/campaigns/{campaign_id}/ledger?per_page=10000"))["ledger"]["hosts"]
        except (AssertionError, httpx2.HTTPError):
            return  # the next look tells why
        for host in hosts:
            self._compare(campaign_id, host)

    def _compare(self, campaign_id: int, host: Mapping[str, Any]) -> None:
        if host["state"] == "pending":
            now = None
        else:
            now = tuple(host[key] for key in ("state", "row_count", "truncated", "error", "settled_at"))
        before = self._settled.get((campaign_id, host["host_id"]))
        if before is not None and before != now:
            self.wrong.append(f"campaign {campaign_id}, host {host['host_id']}: {before}, then {now}")
        if now is not None:
            self._settled[campaign_id, host["host_id"]] = now
