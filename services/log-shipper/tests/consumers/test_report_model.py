"""What is stored equals a naive model, whatever hosts send, people change, and wherever the process dies."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from flotilla_common.contracts.definitions import QueryChangedV1
from flotilla_common.contracts.hosts import HostDeletedV1, HostRecord
from flotilla_common.db.models.admin_api import AppConfig, Query
from flotilla_common.db.models.inventory import Host
from log_shipper.consumers import on_host_changed, on_query_changed
from log_shipper.deps import Deps
from log_shipper.domain import report_keeping
from log_shipper.store import reports
from log_shipper.store.stream import StoredMessage
from sqlalchemy import delete, event
from sqlmodel import col

from ..conftest import Crash
from .reporting import LONG_AGO, NOW, Post, Stored, change, events, host, message, query, stored, whole

CAP = 3
STEPS = 40
TEAMS = (0, 5, 6)
HOSTS = (1, 2, 127, 128, 300)
QUERIES = ("a", "b", "c")
DELIMITERS = ("/", "_", "::", "l")


@dataclass
class Asked:
    """A query as the model knows it."""

    row: Query
    team: int
    since: int = NOW - 1_000_000
    is_kept: bool = True


@dataclass
class Result:
    """The latest execution of a query on a host."""

    key: tuple[int, int]
    rows: list[str]
    is_clipped: bool


@dataclass
class Model:
    """All that is known, in dictionaries; one line at a time."""

    queries: dict[tuple[int, str], Asked] = field(default_factory=dict)
    teams: dict[int, int] = field(default_factory=dict)  # of hosts that exist
    results: dict[tuple[int, int], Result] = field(default_factory=dict)
    is_on: bool = True

    def post(self, post: Post) -> None:
        """Take what a host sends at once: whole snapshots in order, then events, put together by execution."""
        parts: dict[tuple[str, tuple[int, int]], list[str]] = {}
        for line in map(json.loads, post.lines):
            key = int(line["unixTime"]), line["counter"]
            if line.get("action") == "added":
                continue
            if "snapshot" in line:
                self.snapshot(post, line["name"], key, [text_of(row) for row in line["snapshot"]], is_whole=True)
            else:
                parts.setdefault((line["name"], key), []).append(text_of(line["columns"]))
        for (name, key), rows in parts.items():
            self.snapshot(post, name, key, rows, is_whole=False)

    def snapshot(self, post: Post, name: str, key: tuple[int, int], rows: list[str], *, is_whole: bool) -> None:
        asked = self.asked(name)
        if asked is None or not asked.is_kept or not self.is_on or post.received < asked.since:
            return
        team = self.teams.get(post.host_id)
        if team is None or (asked.team and not asked.team == team == post.team_id):
            return
        pair = asked.row.id, post.host_id
        known = self.results.get(pair)
        if known is not None and key < known.key:
            return
        if known is not None and key == known.key and not is_whole:
            more = Counter(rows) - Counter(known.rows)
            rows = known.rows + [row for row in dict.fromkeys(rows) for _ in range(more[row])]
            was_clipped = known.is_clipped
        else:
            was_clipped = False
        self.results[pair] = Result(key, rows[:CAP], len(rows) > CAP or was_clipped)

    def asked(self, name: str) -> Asked | None:
        """Find the query by trying every name that it may go by."""
        for (team, query_name), asked in self.queries.items():
            pack = f"team-{team}" if team else "Global"
            if any(name == f"pack{d}{pack}{d}{query_name}" for d in DELIMITERS):
                return asked
        return None

    def forget(self, *, query_id: int | None = None, host_id: int | None = None) -> None:
        """Drop what does not count any more."""
        by_id = {asked.row.id: asked for asked in self.queries.values()}
        for pair in list(self.results):
            team = self.teams.get(pair[1])
            gone = pair[0] == query_id or (
                pair[1] == host_id and (team is None or by_id[pair[0]].team not in {0, team})
            )
            if gone or not self.is_on:
                del self.results[pair]

    def stored(self) -> Stored:
        """What the tables should hold, rows sorted."""
        return {
            pair: (found.key[0], sorted(map(json.loads, found.rows), key=str), found.is_clipped)
            for pair, found in self.results.items()
        }


def text_of(row: dict[str, Any]) -> str:
    """A row with strings for numbers, the same text for the same row."""
    return json.dumps({name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()})


class Deaths:
    """Kills whoever talks to Postgres, at a statement or right before a commit."""

    def __init__(self, deps: Deps) -> None:
        self._left: int | None = None
        engine = deps.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *_: self._count())
        event.listen(engine, "commit", lambda *_: self._count())

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._left = None
                raise Crash

    async def around(self, chance: random.Random, work: Any) -> None:
        """Do something again and again until it is done, dying on the way; perhaps once more after that."""
        while True:
            self._left = chance.randrange(12) if chance.random() < 0.5 else None
            try:
                await work()
            except Crash:
                continue
            finally:
                self._left = None
            if chance.random() < 0.8:
                return


class Play:
    """One random story, told to the model and to the real thing."""

    def __init__(self, seed: int, deps: Deps, database: Any) -> None:
        self.chance = random.Random(seed)
        self.deps, self.database = deps, database
        self.model, self.deaths = Model(), Deaths(deps)
        self.now, self.sequence = NOW, 0
        self.waiting: list[StoredMessage] = []

    async def begin(self) -> None:
        await self.database.add(AppConfig(document={"server_settings": {"query_report_cap": CAP}}))
        for name in QUERIES:
            for team in TEAMS:
                row = query(name, team or None)
                await self.database.add(row)
                self.model.queries[team, name] = Asked(row, team)
        for host_id in HOSTS:
            self.model.teams[host_id] = team = self.chance.choice(TEAMS)
            await self.database.add(host(host_id, team or None))
        async with self.deps.sessions.begin() as session:
            await reports.put(session, reports.Place(0, LONG_AGO))

    async def step(self) -> None:
        self.now += self.chance.randrange(1, 60)
        kind = self.chance.random()
        if kind < 0.7:
            self.send()
        elif kind < 0.85:
            await self.drain()
        elif kind < 0.93:
            await self.change_query()
        elif kind < 0.96:
            await self.move_host()
        elif kind < 0.98:
            await self.delete_host()
        else:
            await self.switch()

    def send(self) -> None:
        posts = [self.post() for _ in range(self.chance.randrange(1, 4))]
        if self.chance.random() < 0.3:
            posts.append(posts[0])  # its answer was lost
        self.sequence += 1
        self.waiting.append(message(self.sequence, *posts))
        for post in posts:
            self.model.post(post)

    def post(self) -> Post:
        host_id = self.chance.choice([*HOSTS, 999])
        team = self.model.teams.get(host_id, 0)
        lines = [line for _ in range(self.chance.randrange(1, 4)) for line in self.lines(team)]
        return Post(host_id, lines, team_id=team, received=self.now)

    def lines(self, team: int) -> list[bytes]:
        of, delimiter = self.chance.choice([0, team, self.chance.choice(TEAMS)]), self.chance.choice(DELIMITERS)
        pack = f"team-{of}" if of else "Global"
        name = f"pack{delimiter}{pack}{delimiter}{self.chance.choice([*QUERIES, 'unknown'])}"
        rows = [{"port": self.chance.choice(["1", "2", 3])} for _ in range(self.chance.randrange(5))]
        at = self.now - self.chance.choice([0, 0, 0, 7, 3600])
        kind = self.chance.random()
        if kind < 0.4:
            return [whole(name, rows, at, counter=self.chance.choice([0, 1]))]
        if kind < 0.9:
            return events(name, rows, at, self.chance.choice([0, 1]))
        return [whole(name, rows, at, action="added", snapshot=None, columns={"w": "snapshot"})]

    async def drain(self) -> None:
        """Take what waits, in batches of any size."""
        while self.waiting:
            batch = self.waiting[: self.chance.randrange(1, 5)]
            await self.deaths.around(self.chance, lambda batch=batch: self.take(batch))
            self.waiting = self.waiting[len(batch) :]

    async def take(self, batch: list[StoredMessage]) -> None:
        """Do as a process that begins anew: it reads from the cursor on."""
        async with self.deps.sessions.begin() as session:
            place = await reports.begin(session)
            left = [one for one in batch if one.sequence > place.cursor]
            if left:
                await report_keeping.take(session, place, left)

    async def change_query(self) -> None:
        """Ask something else, stop to keep results, or keep them again: lines on the way are of what it was."""
        asked = self.chance.choice(list(self.model.queries.values()))
        asked.since, asked.is_kept = self.now, self.chance.random() < 0.7
        since = datetime.fromtimestamp(self.now, UTC)
        how = self.chance.choice([{"discard_data": True}, {"logging": "differential"}])
        values = {"discard_data": False, "logging": "snapshot"} | ({} if asked.is_kept else how)
        await change(self.database, Query, asked.row.id, results_since=since, **values)
        self.model.forget(query_id=asked.row.id)
        await self.tell_queries()

    async def tell_queries(self) -> None:
        if self.chance.random() < 0.5:
            await self.deaths.around(self.chance, self.on_query)

    async def on_query(self) -> None:
        await on_query_changed.handle(QueryChangedV1(query_id=1, team_id=None), self.deps)

    async def move_host(self) -> None:
        """Lines on the way are taken first: whether they were in time for the old team is nobody's promise."""
        await self.drain()
        if not self.model.teams:
            return
        host_id = self.chance.choice(list(self.model.teams))
        self.model.teams[host_id] = team = self.chance.choice(TEAMS)
        await change(self.database, Host, host_id, team_id=team or None)
        await self.tell_host(host_id)

    async def delete_host(self) -> None:
        await self.drain()
        if len(self.model.teams) < 3:
            return
        host_id = self.chance.choice(list(self.model.teams))
        del self.model.teams[host_id]
        async with self.database.sessions().begin() as session:
            await session.execute(delete(Host).where(col(Host.id) == host_id))
        await self.tell_host(host_id)

    async def tell_host(self, host_id: int) -> None:
        self.model.forget(host_id=host_id)
        told = HostDeletedV1(host=HostRecord(host_id=host_id, revision=1, node_key_hash=None))
        await self.deaths.around(self.chance, lambda: on_host_changed.handle([told], self.deps))

    async def switch(self) -> None:
        """Turn reports off or on."""
        await self.drain()
        self.model.is_on = not self.model.is_on
        settings = {"query_report_cap": CAP, "query_reports_disabled": not self.model.is_on}
        await change(self.database, AppConfig, 1, document={"server_settings": settings})
        self.model.forget()
        await self.deaths.around(self.chance, self.on_query)

    async def compare(self) -> None:
        await self.drain()
        await self.deaths.around(self.chance, self.on_query)
        found = {
            pair: (seconds, sorted(rows, key=str), is_clipped)
            for pair, (seconds, rows, is_clipped) in (await stored(self.database)).items()
        }
        assert found == self.model.stored()


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_stored_is_what_a_naive_model_has(deps, database, seed):
    play = Play(seed, deps, database)
    await play.begin()
    for number in range(STEPS):
        await play.step()
        if number % 10 == 9:
            await play.compare()
    assert play.sequence > STEPS / 3
