"""Query reports in the database: lines go in, and what does not count any more goes out.

Results that are the same as before change nothing but their time, and that is written for many hosts at once
(`contracts.query_reports`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from flotilla_common.contracts.query_reports import BLOCK_BYTES, ENTRY_BYTES, block_of, offset_of
from sqlalchemy.ext.asyncio import AsyncSession

from log_shipper.domain.messages import open_all
from log_shipper.domain.report_lines import SNAPSHOT, Skipped, Snapshot, snapshots_of
from log_shipper.domain.reports import Pair, Report, Rows
from log_shipper.store import report_scope, reports
from log_shipper.store.report_scope import KeptQuery
from log_shipper.store.reports import Place
from log_shipper.store.stream import StoredMessage

NO_ENTRY = bytes(ENTRY_BYTES)
PAIRS_AT_ONCE = 100


@dataclass
class Tally:
    """What became of lines and snapshots."""

    others: int = 0  # lines: no snapshots of a query whose results are kept
    invalid: int = 0  # lines: make no sense
    void: int = 0  # snapshots: of a host or query that is not there or not what it was any more
    late: int = 0  # snapshots: older than what is known
    unchanged: int = 0  # reports that are what they were
    changed: int = 0  # reports that were written or deleted


@dataclass
class _Work:
    """The snapshots of each pair, in order, and what is known of it."""

    snapshots: dict[Pair, list[Snapshot]] = field(default_factory=lambda: defaultdict(list))
    reports: dict[Pair, Report] = field(default_factory=dict)
    digests: dict[tuple[int, int], bytes] = field(default_factory=dict)
    times: dict[tuple[int, int], bytearray] = field(default_factory=dict)


async def take(session: AsyncSession, place: Place, messages: Sequence[StoredMessage]) -> tuple[Place, Tally]:
    """Put the snapshots of these messages into reports, and move the cursor behind them; in one transaction.

    Raises:
        LeaseLost: somebody else has moved the cursor.

    """
    tally = Tally()
    await reports.take_turns(session)
    cap = await report_scope.cap(session)
    if cap is not None:
        await _take(session, messages, cap, tally)
    return await reports.move(session, place, messages[-1].sequence), tally


async def _take(session: AsyncSession, messages: Sequence[StoredMessage], cap: int, tally: Tally) -> None:
    wanted = {(query.team_id, query.name): query for query in await report_scope.kept_queries(session)}
    found = await _snapshots(messages, wanted, tally)
    work = _Work()
    for query, snapshot in await _that_count(session, wanted, found, tally):
        work.snapshots[Pair(query.id, snapshot.host_id)].append(snapshot)
    if not work.snapshots:
        return
    await _read(session, work)
    async for pair in _by_turns(work.snapshots):
        for snapshot in work.snapshots[pair]:
            tally.late += not work.reports[pair].take(snapshot, cap)
    await _write(session, work, tally)


async def _snapshots(
    messages: Sequence[StoredMessage], wanted: dict[tuple[int, str], KeptQuery], tally: Tally
) -> list[Snapshot]:
    """Return the snapshots of queries that are scheduled."""
    names = {name for name, query in wanted.items() if query.is_scheduled}
    skipped, found = Skipped(), list[Snapshot]()
    for message in messages:
        if message.log_type != "result" or SNAPSHOT not in message.data:
            skipped.others += message.lines
            continue
        opened, poison = open_all([message])
        skipped.invalid += sum(one.lines for one, _ in poison)
        for one in opened:
            found += snapshots_of(one, lambda team_id, name: (team_id, name) in names, skipped)
        await asyncio.sleep(0)  # destinations have their turn
    tally.others, tally.invalid = skipped.others, skipped.invalid
    return found


async def _that_count(
    session: AsyncSession, wanted: dict[tuple[int, str], KeptQuery], found: Iterable[Snapshot], tally: Tally
) -> list[tuple[KeptQuery, Snapshot]]:
    """Return snapshots with their queries: of hosts that exist, in the query's team, since the query is what it is."""
    pairs = [(wanted[one.team_id, one.query], one) for one in found]
    teams = await report_scope.teams_of(session, {one.host_id for _, one in pairs})
    kept = [
        (query, one)
        for query, one in pairs
        if one.received_ms >= query.since.timestamp() * 1000
        and one.host_id in teams
        and (not query.team_id or query.team_id == one.host_team_id == teams[one.host_id])
    ]
    tally.void += len(pairs) - len(kept)
    await _begin_anew(session, {query.id: query for query, _ in kept}.values())
    return kept


async def _begin_anew(session: AsyncSession, queries: Collection[KeptQuery]) -> None:
    """Delete what is of an earlier shape of these queries."""
    known = await reports.known_since(session, [query.id for query in queries])
    changed = [query for query in queries if known.get(query.id) != query.since]
    if changed:
        await reports.forget_queries(session, [query.id for query in changed])
    for query in changed:
        await reports.count_since(session, query.id, query.since)


async def _read(session: AsyncSession, work: _Work) -> None:
    pairs = list(work.snapshots)
    work.digests = await reports.digests(session, pairs)
    work.times = await reports.times(session, {(pair.query_id, block_of(pair.host_id)) for pair in pairs})
    for pair in pairs:
        times, start = work.times.get((pair.query_id, block_of(pair.host_id)), b""), offset_of(pair.host_id)
        key = int.from_bytes(times[start : start + ENTRY_BYTES], "big")
        work.reports[pair] = Report(key, None if pair in work.digests else Rows())
    needed = [pair for pair in pairs if any(map(work.reports[pair].needs_rows, work.snapshots[pair]))]
    if needed:
        for found, (kept, is_clipped) in (await reports.rows(session, needed)).items():
            work.reports[Pair(*found)].rows = Rows(tuple(kept), is_clipped)


async def _write(session: AsyncSession, work: _Work, tally: Tally) -> None:
    changed, gone = dict[Pair, Rows](), list[Pair]()
    times = dict[tuple[int, int], bytearray]()
    async for pair in _by_turns(work.reports):
        report = work.reports[pair]
        _set_time(times, work, pair, report.key)
        rows, known = report.rows, work.digests.get(pair)
        if rows is None or (known is None if rows.is_empty else known == rows.digest):
            tally.unchanged += 1
        elif rows.is_empty:
            gone.append(pair)
        else:
            changed[pair] = rows
    await reports.forget(session, gone)
    await reports.store(
        session,
        (
            {
                "query_id": pair.query_id,
                "host_id": pair.host_id,
                "row_count": len(rows.kept),
                "is_clipped": rows.is_clipped,
                "digest": rows.digest,
                "rows": rows.encoded,
            }
            for pair, rows in changed.items()
        ),
    )
    await reports.store_times(session, times)
    tally.changed += len(changed) + len(gone)


async def _by_turns(pairs: Iterable[Pair]) -> AsyncIterator[Pair]:
    """Yield them all; after some of them destinations have their turn."""
    for number, pair in enumerate(pairs):
        if number % PAIRS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield pair


def _set_time(changed: dict[tuple[int, int], bytearray], work: _Work, pair: Pair, key: int) -> None:
    """Note when a pair's latest results are of, if that is new."""
    place, start = (pair.query_id, block_of(pair.host_id)), offset_of(pair.host_id)
    times = work.times.setdefault(place, bytearray(BLOCK_BYTES))
    entry = key.to_bytes(ENTRY_BYTES, "big")
    if times[start : start + ENTRY_BYTES] != entry:
        times[start : start + ENTRY_BYTES] = entry
        changed[place] = times


async def is_wanted(session: AsyncSession) -> bool:
    """Whether anybody wants reports: they are turned on, and there is a scheduled query that has one."""
    if await report_scope.cap(session) is None:
        return False
    return any(query.is_scheduled for query in await report_scope.kept_queries(session))


async def pass_over(session: AsyncSession) -> Place:
    """Move the cursor to where the intake is, and return it: nobody wants what is before that."""
    await reports.take_turns(session)
    now, to = await reports.begin(session), await reports.intake(session)
    if to.stream_created_at is None or (now.stream_created_at == to.stream_created_at and now.cursor >= to.cursor):
        return now
    await reports.put(session, to)
    return to


async def forget_void_queries(session: AsyncSession) -> None:
    """Delete what is of queries that keep none any more, are not what they were, or are gone; all, if turned off."""
    await reports.take_turns(session)
    if await report_scope.cap(session) is None:
        await reports.forget_queries(session, None)
        return
    kept = {query.id: query.since for query in await report_scope.kept_queries(session)}
    known = await reports.reported_queries(session)
    await reports.forget_queries(session, [query_id for query_id in known if known[query_id] != kept.get(query_id)])


async def forget_void_hosts(session: AsyncSession, host_ids: Collection[int]) -> None:
    """Delete what is of those of these hosts that are gone, or in another team than the query is of."""
    await reports.take_turns(session)
    teams = await report_scope.teams_of(session, host_ids)
    team_of_query = {query.id: query.team_id for query in await report_scope.kept_queries(session)}
    by_block = defaultdict[int, list[int]](list)
    for host_id in host_ids:
        by_block[block_of(host_id)].append(host_id)
    void, changed = list[Pair](), dict[tuple[int, int], bytearray]()
    for (query_id, block), times in (await reports.times_of_blocks(session, by_block)).items():
        for host_id in by_block[block]:
            start = offset_of(host_id)
            entry = times[start : start + ENTRY_BYTES]
            wanted = team_of_query.get(query_id)
            belongs = host_id in teams and wanted is not None and wanted in {0, teams[host_id]}
            if entry == NO_ENTRY or belongs:
                continue
            times[start : start + ENTRY_BYTES] = NO_ENTRY
            void.append(Pair(query_id, host_id))
            changed[query_id, block] = times
    await reports.forget(session, void)
    await reports.store_times(session, changed)
