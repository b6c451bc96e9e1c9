"""Query reports: the latest rows of each host and query, nothing that does not count, no write without a change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flotilla_common.contracts.definitions import AppConfigChangedV1, QueryChangedV1
from flotilla_common.contracts.hosts import HostChangedV1, HostDeletedV1, HostRecord
from flotilla_common.db.models.admin_api import AppConfig, Query
from flotilla_common.db.models.inventory import Host
from flotilla_common.db.models.log_shipper import Destination, Intake, QueryReport, ReportCursor
from flotilla_common.errors import LeaseLost
from flotilla_common.testing import eventually
from log_shipper.consumers import on_host_changed, on_query_changed
from log_shipper.consumers.keep_reports import sweep
from log_shipper.consumers.purge import _readers
from log_shipper.domain import report_keeping, reports
from log_shipper.domain.spilling import Keeping
from log_shipper.metrics import REPORT_CURSOR
from log_shipper.store.reports import Place
from log_shipper.store.stream import state
from sqlalchemy import delete, text
from sqlmodel import col

from ..conftest import to_file
from .reporting import LONG_AGO, NOW, Post, change, events, host, message, publish, query, stored, take, whole

ROWS = [{"port": "22"}, {"port": "80"}]
GLOBAL = "pack/Global/ports"


@pytest.fixture
async def ports(database) -> int:
    """A global query with hosts 1 and 2 (of no team), 3 (team 5) and 130 (team 6); its id."""
    row = query("ports")
    await database.add(row, host(1), host(2), host(3, 5), host(130, 6))
    return row.id


async def test_lines_become_a_report(deps, database, shipping, directory, gateway, bus_for, ports):
    async with shipping(deps, to_file(directory)):
        await publish(gateway.bus, Post(1, [whole(GLOBAL, ROWS)]), Post(3, events(GLOBAL, ROWS[:1]), team_id=5))

        async def reported():
            return await stored(database) == {(ports, 1): (NOW, ROWS, False), (ports, 3): (NOW, ROWS[:1], False)}

        await eventually(reported)

        await change(database, Query, ports, discard_data=True)
        event = QueryChangedV1(query_id=ports, team_id=None)
        await (await bus_for("admin_api")).js.publish(event.subject, event.model_dump_json().encode())

        async def gone():
            return await stored(database) == {}

        await eventually(gone)


async def test_an_empty_snapshot_is_known_and_has_no_rows(deps, database, ports):
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)])))
    await take(deps, message(2, Post(1, [whole(GLOBAL, [], NOW + 60)])))

    assert await stored(database) == {(ports, 1): (NOW + 60, [], False)}
    assert await database.rows(QueryReport) == []


async def test_the_newest_snapshot_wins_in_a_batch_and_over_batches(deps, database, ports):
    newest, older, oldest = (whole(GLOBAL, [{"port": n}], NOW - int(n)) for n in "123")
    tally = await take(deps, message(1, Post(1, [oldest, newest, older])), message(2, Post(1, [older])))
    assert tally.late == 2
    tally = await take(deps, message(3, Post(1, [older])))

    assert tally.late == 1
    assert await stored(database) == {(ports, 1): (NOW - 1, [{"port": "1"}], False)}


async def test_events_that_are_split_over_posts_and_batches_are_one_snapshot(deps, database, ports):
    await take(deps, message(1, Post(1, [whole(GLOBAL, [{"port": "1"}], NOW - 60)])))
    first, second, third = events(GLOBAL, [{"port": "22"}, {"port": "80"}, {"port": "443"}])
    await take(deps, message(2, Post(1, [first]), Post(1, [second])))
    await take(deps, message(3, Post(1, [second, third])))  # the answer was lost: the host sends once more, and more

    assert await stored(database) == {(ports, 1): (NOW, [{"port": p} for p in ("22", "80", "443")], False)}


async def test_unchanged_results_write_no_row_and_are_known_to_be_new(deps, database, ports):
    def all_of(sequence: int, at: int):
        posts = [Post(n, [whole(GLOBAL, ROWS, at)], team_id=team) for n, team in ((1, 0), (2, 0), (3, 5), (130, 6))]
        return message(sequence, *posts)

    await take(deps, all_of(1, NOW))
    tables = ("query_reports", "query_report_times")
    before = {table: await versions(database, table) for table in tables}
    tally = await take(deps, all_of(2, NOW + 60), message(3, Post(1, [whole(GLOBAL, ROWS[::-1], NOW + 90)])))
    written = {table: len(await versions(database, table) - before[table]) for table in tables}

    assert (tally.unchanged, tally.changed) == (4, 0)
    assert written == {"query_reports": 0, "query_report_times": 2}  # one for each block of hosts
    assert {pair[1]: found[0] for pair, found in (await stored(database)).items()} == {
        1: NOW + 90, 2: NOW + 60, 3: NOW + 60, 130: NOW + 60,
    }  # fmt: skip


async def versions(database, table: str) -> set[tuple[str, str]]:
    """Return where each row of a table stands and which transaction wrote it: a write changes both."""
    async with database.sessions().begin() as session:
        found = await session.execute(text(f"SELECT ctid::text, xmin::text FROM log_shipper.{table}"))
        return {(row[0], row[1]) for row in found}


async def test_an_unchanged_result_of_events_takes_rows_that_come_after_it(deps, database, ports):
    await take(deps, message(1, Post(1, events(GLOBAL, ROWS))))
    await take(deps, message(2, Post(1, events(GLOBAL, ROWS, NOW + 60))))
    await take(deps, message(3, Post(1, events(GLOBAL, [{"port": "443"}], NOW + 60))))

    assert await stored(database) == {(ports, 1): (NOW + 60, [*ROWS, {"port": "443"}], False)}


async def test_the_cap_is_for_each_host_and_what_is_cut_shows(deps, database, ports):
    await database.add(AppConfig(document={"server_settings": {"query_report_cap": 1}}))
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)]), Post(2, [whole(GLOBAL, ROWS[1:])])))

    assert await stored(database) == {(ports, 1): (NOW, ROWS[:1], True), (ports, 2): (NOW, ROWS[1:], False)}

    await change(database, AppConfig, 1, document={"server_settings": {"query_report_cap": 0}})
    await take(deps, message(2, Post(1, [whole(GLOBAL, ROWS, NOW + 1)])))

    assert (await stored(database))[ports, 1] == (NOW + 1, ROWS, False)


async def test_a_cap_of_bytes_holds_too(deps, database, ports, monkeypatch):
    monkeypatch.setattr(reports, "MOST_BYTES", 20)
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)]), Post(2, [whole(GLOBAL, [{"x": "y" * 30}])])))

    assert await stored(database) == {(ports, 1): (NOW, ROWS[:1], True), (ports, 2): (NOW, [], True)}


@pytest.mark.parametrize(
    "columns",
    [
        {"discard_data": True},
        {"logging": "differential"},
        {"interval_seconds": 0},
        {"saved": False},
        {"team_id": 5},
        {"name": "other"},
    ],
)
async def test_what_keeps_no_report_is_passed_over(deps, database, ports, columns):
    await change(database, Query, ports, **columns)
    tally = await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)])))

    assert tally.others == 1
    assert await stored(database) == {}


async def test_a_query_of_a_team_has_results_of_hosts_that_were_and_are_in_it(deps, database, ports):
    of_team = query("users", 5)
    await database.add(of_team)
    lines = [whole("pack/team-5/users", ROWS)]
    tally = await take(
        deps,
        message(1, Post(3, lines, team_id=5), Post(130, lines, team_id=5), Post(3, lines, team_id=6), Post(1, lines)),
    )

    assert tally.void == 3
    assert await stored(database) == {(of_team.id, 3): (NOW, ROWS, False)}


async def test_lines_that_a_host_sent_before_the_query_was_changed_are_no_results_of_it(deps, database, ports):
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)]), Post(2, [whole(GLOBAL, ROWS)])))
    await change(database, Query, ports, results_since=LONG_AGO.fromtimestamp(NOW + 10, LONG_AGO.tzinfo))
    tally = await take(deps, message(2, Post(1, [whole(GLOBAL, ROWS, NOW + 9)], received=NOW + 9)))
    assert tally.void == 1
    await take(deps, message(3, Post(1, [whole(GLOBAL, ROWS, NOW + 11)], received=NOW + 11)))

    assert await stored(database) == {(ports, 1): (NOW + 11, ROWS, False)}


async def test_lines_of_a_deleted_host_are_passed_over(deps, database, ports):
    tally = await take(deps, message(1, Post(9, [whole(GLOBAL, ROWS)])))

    assert tally.void == 1


async def test_lines_that_make_no_sense_fail_nothing(deps, database, ports):
    rubbish = message(1, Post(1, [b'"snapshot" \xff', whole(GLOBAL, 5), whole(GLOBAL, [{"a": 1, "b": "\0"}])]))
    tally = await take(deps, rubbish, replace(rubbish, sequence=2, data=b'no manifest "snapshot"'))

    assert tally.invalid == 5
    assert await stored(database) == {(ports, 1): (NOW, [{"a": "1", "b": "\0"}], False)}


async def test_a_batch_that_somebody_else_has_taken_changes_nothing(deps, database, ports):
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)])))
    with pytest.raises(LeaseLost):
        async with deps.sessions.begin() as session:
            await report_keeping.take(session, Place(0, LONG_AGO), [message(1, Post(1, [whole(GLOBAL, [], NOW + 1)]))])

    assert await stored(database) == {(ports, 1): (NOW, ROWS, False)}


async def test_what_queries_do_not_keep_any_more_goes(deps, database, ports):
    others = [query("a"), query("b"), query("c")]
    await database.add(*others)
    names = ["ports", "a", "b", "c"]
    await take(deps, message(1, Post(1, [whole(f"pack/Global/{name}", ROWS) for name in names])))
    await change(database, Query, others[0].id, logging="differential")
    await change(database, Query, others[1].id, results_since=LONG_AGO.fromtimestamp(NOW + 1, LONG_AGO.tzinfo))
    async with database.sessions().begin() as session:
        await session.execute(delete(Query).where(col(Query.id) == others[2].id))
    for _ in range(2):
        await on_query_changed.handle(QueryChangedV1(query_id=1, team_id=None), deps)

    assert set(await stored(database)) == {(ports, 1)}


async def test_all_goes_when_reports_are_turned_off(deps, database, ports):
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)])))
    await database.add(AppConfig(document={"server_settings": {"query_reports_disabled": True}}))
    await on_query_changed.handle(AppConfigChangedV1(), deps)
    await take(deps, message(2, Post(1, [whole(GLOBAL, ROWS, NOW + 1)])))

    assert await stored(database) == {}


async def test_what_is_of_hosts_that_are_gone_or_elsewhere_goes(deps, database, ports):
    of_team = query("users", 5)
    await database.add(of_team, host(4, 5))
    both = [whole(GLOBAL, ROWS), whole("pack/team-5/users", ROWS)]
    empty = [whole("pack/team-5/users", [])]
    await take(deps, message(1, Post(3, both, team_id=5), Post(4, empty, team_id=5), Post(1, both[:1])))
    await change(database, Host, 3, team_id=6)
    await change(database, Host, 4, team_id=None)
    async with database.sessions().begin() as session:
        await session.execute(delete(Host).where(col(Host.id) == 1))
    record = HostRecord(host_id=3, revision=1, node_key_hash=None)
    moved = [HostChangedV1(host=record), HostChangedV1(host=record.model_copy(update={"host_id": 4}))]
    for _ in range(2):
        await on_host_changed.handle([*moved, HostDeletedV1(host=record.model_copy(update={"host_id": 1}))], deps)

    assert await stored(database) == {(ports, 3): (NOW, ROWS, False)}


async def test_what_nobody_told_of_goes_when_the_work_begins(deps, database, ports):
    await take(deps, message(1, Post(1, [whole(GLOBAL, ROWS)]), Post(2, [whole(GLOBAL, ROWS)])))
    async with database.sessions().begin() as session:
        await session.execute(delete(Host).where(col(Host.id) == 1))
    await sweep(deps)

    assert set(await stored(database)) == {(ports, 2)}


async def cursors(database) -> list[int]:
    return [row.cursor_sequence for row in await database.rows(ReportCursor)]


async def test_reports_of_an_old_installation_begin_where_the_intake_is(deps, database, gateway, shipping, ports):
    await publish(gateway.bus, Post(1, [whole(GLOBAL, ROWS)]))
    await publish(gateway.bus, Post(2, [whole(GLOBAL, ROWS)]))
    found = await state(deps.bus)
    await database.add(Intake(id=1, cursor_sequence=found.last_sequence - 1, stream_created_at=found.created_at))
    async with shipping(deps):

        async def is_done():
            return await cursors(database) == [found.last_sequence]

        await eventually(is_done)
        await eventually(lambda: REPORT_CURSOR._value.get() == found.last_sequence)  # it is set after the commit

    assert set(await stored(database)) == {(ports, 2)}


async def test_the_stream_is_kept_for_reports(deps, database, gateway, ports):
    await gateway.send(messages=3)
    found = await state(deps.bus)
    last = found.last_sequence
    await database.add(
        ReportCursor(id=1, cursor_sequence=last - 2, stream_created_at=found.created_at),
        Intake(id=1, cursor_sequence=last),
        Destination(name="file", cursor_sequence=last, stream_created_at=found.created_at),
    )
    async with deps.sessions.begin() as session:
        readers = await _readers(session)

    assert min(need.cursor for need in readers.needs(found, Keeping())) == last - 2
    assert (found.created_at, last - 2) in readers.positions(found)

    await change(database, Query, ports, discard_data=True)
    async with deps.sessions.begin() as session:
        readers = await _readers(session)

    assert min(need.cursor for need in readers.needs(found, Keeping())) == last


async def test_the_cursor_follows_the_intake_where_nobody_wants_reports(deps, database, gateway, shipping):
    async with shipping(deps):
        await gateway.send(messages=5)
        last = (await state(deps.bus)).last_sequence

        async def is_there():
            return await cursors(database) == [last]

        await eventually(is_there)
