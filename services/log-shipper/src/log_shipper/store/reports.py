"""Query reports: `log_shipper.query_reports`, `query_report_times`, `reported_queries`, and the cursor.

Whoever writes them takes turns with everybody else who does, and reads only then what people have defined: so nothing
is stored that a change of definitions has just removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from flotilla_common.db.models.log_shipper import Intake, QueryReport, QueryReportTimes, ReportCursor, ReportedQuery
from flotilla_common.errors import LeaseLost
from sqlalchemy import BigInteger, ColumnElement, any_, cast, delete, func, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from log_shipper.store import leases

TURN = "writing query reports"  # not the lease of whoever keeps them
Pairs = Collection[tuple[int, int]]
"""Of a query's id and a host's, or a block's."""

_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True)
class Place:
    """Up to which sequence of which stream lines are in reports."""

    cursor: int
    stream_created_at: datetime | None


async def take_turns(session: AsyncSession) -> None:
    """Wait until nobody else writes reports."""
    await leases.take_turns(session, TURN)


async def place(session: AsyncSession) -> Place | None:
    """Return the place; None before there was one."""
    found = (await session.execute(select(ReportCursor))).scalar_one_or_none()
    return None if found is None else Place(found.cursor_sequence, found.stream_created_at)


async def begin(session: AsyncSession) -> Place:
    """Return the place; in a new installation and in one that had no reports, it is the intake's."""
    found = await place(session)
    if found is None:
        found = await intake(session)
        await put(session, found)
    return found


async def intake(session: AsyncSession) -> Place:
    """Return where the intake is."""
    row = (await session.execute(select(col(Intake.cursor_sequence), col(Intake.stream_created_at)))).one_or_none()
    return Place(0, None) if row is None else Place(row[0], row[1])


async def put(session: AsyncSession, to: Place) -> None:
    """Set the place."""
    values = {"cursor_sequence": to.cursor, "stream_created_at": to.stream_created_at}
    statement = insert(ReportCursor).values(id=1, **values)
    await session.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={**values, "updated_at": func.now()})
    )


async def move(session: AsyncSession, expected: Place, sequence: int) -> Place:
    """Move the cursor; return the new place.

    Raises:
        LeaseLost: it does not stand where it should.

    """
    done = await session.execute(
        update(ReportCursor)
        .where(
            col(ReportCursor.cursor_sequence) == expected.cursor,
            col(ReportCursor.stream_created_at) == expected.stream_created_at,
        )
        .values(cursor_sequence=sequence, updated_at=func.now())
        .returning(col(ReportCursor.id))
    )
    if done.scalar_one_or_none() is None:
        raise LeaseLost(f"query reports: the cursor does not stand at {expected.cursor}")
    return Place(sequence, expected.stream_created_at)


async def known_since(session: AsyncSession, query_ids: Collection[int]) -> dict[int, datetime]:
    """Return query id -> since when its stored results count."""
    statement = select(col(ReportedQuery.query_id), col(ReportedQuery.results_since)).where(
        _one_of(col(ReportedQuery.query_id), query_ids)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def count_since(session: AsyncSession, query_id: int, since: datetime) -> None:
    """Say since when a query's stored results count."""
    statement = insert(ReportedQuery).values(query_id=query_id, results_since=since)
    await session.execute(statement.on_conflict_do_update(index_elements=["query_id"], set_={"results_since": since}))


async def digests(session: AsyncSession, pairs: Pairs) -> dict[tuple[int, int], bytes]:
    """Return (query id, host id) -> digest of those that have rows."""
    query_id, host_id = col(QueryReport.query_id), col(QueryReport.host_id)
    statement = select(query_id, host_id, col(QueryReport.digest)).where(_among(query_id, host_id, pairs))
    return {(row[0], row[1]): row[2] for row in await session.execute(statement)}


async def rows(session: AsyncSession, pairs: Pairs) -> dict[tuple[int, int], tuple[list[bytes], bool]]:
    """Return (query id, host id) -> its rows, and whether they are clipped, of those that have any."""
    query_id, host_id = col(QueryReport.query_id), col(QueryReport.host_id)
    statement = select(QueryReport).where(_among(query_id, host_id, pairs))
    found = (await session.execute(statement)).scalars()
    return {(row.query_id, row.host_id): (list(map(bytes, _rows(row.rows))), row.is_clipped) for row in found}


async def store(session: AsyncSession, changed: Iterable[Mapping[str, Any]]) -> None:
    """Write reports: members are the table's columns."""
    values = list(changed)
    if not values:
        return
    statement = insert(QueryReport)
    columns = ("row_count", "is_clipped", "digest", "rows")
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["query_id", "host_id"], set_={name: statement.excluded[name] for name in columns}
        ),
        values,
    )


async def forget(session: AsyncSession, pairs: Pairs) -> None:
    """Delete the rows of these (query id, host id)."""
    if pairs:
        await session.execute(
            delete(QueryReport).where(_among(col(QueryReport.query_id), col(QueryReport.host_id), pairs))
        )


async def times(session: AsyncSession, pairs: Pairs) -> dict[tuple[int, int], bytearray]:
    """Return (query id, block) -> times of its hosts, of those that have any."""
    query_id, block = col(QueryReportTimes.query_id), col(QueryReportTimes.block)
    statement = select(QueryReportTimes).where(_among(query_id, block, pairs))
    return {(row.query_id, row.block): bytearray(row.times) for row in (await session.execute(statement)).scalars()}


async def times_of_blocks(session: AsyncSession, blocks: Collection[int]) -> dict[tuple[int, int], bytearray]:
    """Return (query id, block) -> times of its hosts, for all queries."""
    statement = select(QueryReportTimes).where(_one_of(col(QueryReportTimes.block), blocks))
    return {(row.query_id, row.block): bytearray(row.times) for row in (await session.execute(statement)).scalars()}


async def store_times(session: AsyncSession, changed: Mapping[tuple[int, int], bytes | bytearray]) -> None:
    """Write the times of blocks."""
    values = [
        {"query_id": query_id, "block": block, "times": bytes(found)} for (query_id, block), found in changed.items()
    ]
    if not values:
        return
    statement = insert(QueryReportTimes)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["query_id", "block"], set_={"times": statement.excluded["times"]}
        ),
        values,
    )


async def reported_queries(session: AsyncSession) -> dict[int, datetime]:
    """Return the ids of all queries that may have results, and since when these count."""
    columns = col(ReportedQuery.query_id), col(ReportedQuery.results_since)
    return {row[0]: row[1] for row in await session.execute(select(*columns))}


async def reported_hosts(session: AsyncSession) -> list[int]:
    """Return the ids of all hosts with rows, ascending."""
    host_id = col(QueryReport.host_id)
    return list((await session.execute(select(host_id).distinct().order_by(host_id))).scalars())


async def forget_queries(session: AsyncSession, query_ids: Collection[int] | None) -> None:
    """Delete all that there is of these queries; of every query for None."""
    for model in (QueryReport, QueryReportTimes, ReportedQuery):
        column = col(model.query_id)
        await session.execute(delete(model).where(true() if query_ids is None else _one_of(column, query_ids)))


def _one_of(column: ColumnElement[int] | Any, ids: Collection[int]) -> ColumnElement[bool]:
    return column == any_(cast(sorted(ids), ARRAY(BigInteger)))


def _among(first: Any, second: Any, pairs: Pairs) -> ColumnElement[bool]:
    """Whether two columns are one of the pairs: two array parameters, however many there are."""
    ordered = sorted(pairs)
    firsts = cast([pair[0] for pair in ordered], ARRAY(BigInteger))
    seconds = cast([pair[1] for pair in ordered], ARRAY(BigInteger))
    wanted = select(func.unnest(firsts).label("a"), func.unnest(seconds).label("b")).subquery()
    return tuple_(first, second).in_(select(wanted.c.a, wanted.c.b))
