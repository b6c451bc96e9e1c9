"""The people of a fault run: they start live queries, watch each with two viewers, stop them, and read what came."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flotilla_common.testing.waiting import eventually

from .campaign_fleet import Fleet
from .campaign_hosts import Asked, CampaignHost, Record
from .campaign_truth import ANSWERED, Seen
from .people import Person
from .resuming import Resuming

SQL = "SELECT name FROM processes"
START_SECONDS, END_SECONDS = 30.0, 60.0
LEAVES = 4  # of the restless viewer of each
LINGER_SECONDS = 1.0
COMPLETE = 2
EXPORTS_AT_ONCE = 2  # the ledgers are read every second beside it


@dataclass
class Desk:
    """All live queries of a run, and who watches them."""

    admin: Person
    fleet: Fleet
    record: Record
    choice: random.Random
    viewers: dict[int, list[Resuming]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    looking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EXPORTS_AT_ONCE))

    async def start(
        self, targets: Sequence[CampaignHost], *, by: Person | None = None, deadline_seconds: float | None = None
    ) -> Asked:
        """Start one that asks these hosts, and watch it; one that is refused while a part comes back is tried again."""

        async def started() -> Asked:
            return await self.try_to_start(targets, by=by, deadline_seconds=deadline_seconds)

        asked: Asked = await eventually(started, timeout=START_SECONDS)
        return asked

    async def try_to_start(
        self, targets: Sequence[CampaignHost], *, by: Person | None = None, deadline_seconds: float | None = None
    ) -> Asked:
        """Start one.

        Raises:
            AssertionError: it was refused; nobody knows whether it runs.

        """
        ids = [self.fleet.ids[host.identifier] for host in targets]
        body: dict[str, Any] = {"query": SQL, "selected": {"hosts": ids, "labels": [], "teams": []}}
        deadline = None
        if deadline_seconds is not None:
            deadline = datetime.now(UTC) + timedelta(seconds=deadline_seconds)
            body["deadline"] = deadline.isoformat()
        campaign = (await (by or self.admin).call("POST", "/queries/run", body))["campaign"]
        asked = Asked(campaign["id"], frozenset(host.identifier for host in targets))
        if deadline is not None:
            asked.end = "expired"
            asked.closes(deadline.timestamp(), deadline.timestamp())
        self._watch(asked)
        return asked

    async def find_others(self) -> None:
        """Take those into account that run though nobody was told so."""
        listed = (await self.admin.call("GET", "/campaigns", per_page=100))["campaigns"]
        names = self.fleet.names
        for campaign_id in [campaign["id"] for campaign in listed if campaign["id"] not in self.record.asked]:
            ledger = await self._ledger(campaign_id)
            if set(ledger) <= set(names):
                self._watch(Asked(campaign_id, frozenset(names[host_id] for host_id in ledger)))

    def _watch(self, asked: Asked) -> None:
        self.record.asked[asked.campaign_id] = asked
        self.viewers[asked.campaign_id] = [
            Resuming(self.admin, asked.campaign_id, self.choice, leaves) for leaves in (0, LEAVES)
        ]
        self.tasks += [asyncio.create_task(viewer.watch()) for viewer in self.viewers[asked.campaign_id]]

    async def pending(self) -> dict[int, set[str]]:
        """Return who is still awaited, by campaign."""
        names, ids = self.fleet.names, list(self.record.asked)
        ledgers = await asyncio.gather(*(self._ledger(campaign_id, state="pending") for campaign_id in ids))
        return {
            campaign_id: {names[host_id] for host_id in ledger}
            for campaign_id, ledger in zip(ids, ledgers, strict=True)
        }

    async def stop_all(self) -> dict[int, int]:
        """Stop what still runs and return how each campaign stands once its ledger is closed."""

        async def stop(asked: Asked) -> None:
            began = time.time()
            await self.admin.call("DELETE", f"/campaigns/{asked.campaign_id}")
            asked.closes(began, time.time())

        await asyncio.gather(*map(stop, self.record.asked.values()))
        found: dict[int, int] = {}

        async def note(campaign_id: int) -> None:
            found[campaign_id] = (await self.admin.call("GET", f"/campaigns/{campaign_id}"))["campaign"]["status"]

        async def are_complete() -> bool:
            await asyncio.gather(*map(note, self.record.asked))
            return set(found.values()) == {COMPLETE}

        try:
            await eventually(are_complete, timeout=END_SECONDS)
        except AssertionError:
            return found  # that some are not is for a test to say
        return found

    async def look_at(self, campaign_id: int) -> Seen:
        """Return all that people see of a campaign; viewers have had time to see all of it, and a little more."""
        async with self.looking:
            counts = (await self.admin.call("GET", f"/campaigns/{campaign_id}"))["campaign"]["hosts"]
            ledger = await self._ledger(campaign_id)
            exported = await self.admin.call("GET", f"/campaigns/{campaign_id}/results/export", format="json")
        rows: defaultdict[int, list[dict[str, str]]] = defaultdict(list)
        for row in exported["results"]["rows"]:
            rows[row["host_id"]].append(row["columns"])
        answered = sum(entry["state"] in ANSWERED for entry in ledger.values())
        viewers = self.viewers[campaign_id]
        with contextlib.suppress(AssertionError):  # what they missed is for a test to say
            await eventually(lambda: all(len(viewer.results) >= answered for viewer in viewers), timeout=END_SECONDS)
        return Seen(counts, ledger, rows, [viewer.results for viewer in viewers])

    async def _ledger(self, campaign_id: int, **words: str) -> dict[int, dict[str, Any]]:
        found = await self.admin.call("GET", f"/campaigns/{campaign_id}/ledger/export", format="json", **words)
        return {host["host_id"]: host for host in found["ledger"]["hosts"]}

    async def close(self) -> None:
        """Send the viewers home."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
