"""Result lines as hosts send them, and what query reports have of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from flotilla_common.contracts.logs import LINES_HEADER, Manifest, Segment, subject
from flotilla_common.contracts.query_reports import BLOCK_HOSTS, ENTRY_BYTES
from flotilla_common.db.models.admin_api import Query
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.log_shipper import QueryReport, QueryReportTimes
from flotilla_common.testing.database import Database
from log_shipper.deps import Deps
from log_shipper.domain import report_keeping
from log_shipper.store import reports
from log_shipper.store.stream import StoredMessage
from sqlalchemy import update
from sqlmodel import col

NOW = 1_795_514_400  # Unix time, s
LONG_AGO = datetime.fromtimestamp(NOW, UTC) - timedelta(days=30)


def query(name: str, team_id: int | None = None, **columns: Any) -> Query:
    """A saved query that keeps a report."""
    usual = {"query": "SELECT 1", "interval_seconds": 60, "logging": "snapshot", "results_since": LONG_AGO}
    return Query(name=name, team_id=team_id, **(usual | columns))


def host(host_id: int, team_id: int | None = None) -> Host:
    """An enrolled host."""
    return Host(
        id=host_id,
        revision=host_id,
        host_identifier=f"h-{host_id}",
        team_id=team_id,
        last_enrolled_at=LONG_AGO,
        node_key_hash=host_id.to_bytes(32, "big"),
    )


def whole(name: str, rows: object, at: int = NOW, **members: object) -> bytes:
    """A snapshot as one line."""
    usual = {"name": name, "action": "snapshot", "unixTime": at, "counter": 0, "snapshot": rows}
    return msgspec.json.encode(usual | members)


def events(name: str, rows: Sequence[object], at: int = NOW, counter: int = 0) -> list[bytes]:
    """A snapshot as a line for each row."""
    usual = {"name": name, "action": "snapshot", "unixTime": at, "counter": counter}
    return [msgspec.json.encode(usual | {"columns": row}) for row in rows]


@dataclass(frozen=True)
class Post:
    """What a host sends at once."""

    host_id: int
    lines: Sequence[bytes]
    team_id: int = 0
    received: int = NOW


def body_of(posts: Sequence[Post]) -> tuple[bytes, int]:
    """A message of stream LOGS, and how many lines it has."""
    bodies = [b"".join(line + b"\n" for line in post.lines) for post in posts]
    segments = [
        Segment(post.host_id, post.team_id, post.received * 1000, len(post.lines), len(body))
        for post, body in zip(posts, bodies, strict=True)
    ]
    head = msgspec.json.encode(Manifest(1, "result", segments))
    return head + b"\n" + b"".join(bodies), sum(segment.lines for segment in segments)


def message(sequence: int, *posts: Post) -> StoredMessage:
    """A message as the stream has it."""
    data, lines = body_of(posts)
    return StoredMessage(sequence, datetime.now(UTC), "logs.result.v1.3", lines, data)


async def publish(bus: Any, *posts: Post) -> None:
    """Have the stream take a message."""
    data, lines = body_of(posts)
    await bus.js.publish(subject("result", 3), data, headers={LINES_HEADER: str(lines)})


async def take(deps: Deps, *messages: StoredMessage) -> report_keeping.Tally:
    """Put messages into reports, as the consumer does with a batch."""
    async with deps.sessions.begin() as session:
        place = await reports.begin(session)
        if place.stream_created_at is None:
            place = reports.Place(place.cursor, LONG_AGO)
            await reports.put(session, place)
        _, tally = await report_keeping.take(session, place, messages)
    return tally


async def change(database: Database, model: Any, row_id: int, **values: Any) -> None:
    """Change a row of another service's, as the superuser."""
    async with database.sessions().begin() as session:
        await session.execute(update(model).where(col(model.id) == row_id).values(**values))


Stored = dict[tuple[int, int], tuple[int, list[dict[str, str]], bool]]
"""(query id, host id) -> Unix time (s), rows, whether they are clipped."""


async def stored(database: Database) -> Stored:
    """All that there is."""
    rows = {
        (row.query_id, row.host_id): (msgspec.json.decode(row.rows), row.is_clipped)
        for row in await database.rows(QueryReport)
    }
    found: Stored = {}
    for row in await database.rows(QueryReportTimes):
        for number in range(BLOCK_HOSTS):
            seconds = int.from_bytes(row.times[number * ENTRY_BYTES : number * ENTRY_BYTES + 4], "big")
            pair = row.query_id, row.block * BLOCK_HOSTS + number
            if seconds:
                found[pair] = (seconds, *rows.pop(pair, ([], False)))
    assert not rows, "rows without a time"
    return found
