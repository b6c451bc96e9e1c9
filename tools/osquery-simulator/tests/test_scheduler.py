"""Scheduled queries and the lines they make."""

from collections.abc import Callable
from typing import Any

import pytest
from osquery_simulator import Host
from osquery_simulator.testing import FakeServer, VirtualClock

Fleet = Callable[..., Any]
ONCE = 604_800  # seconds: such a query does not come by itself during a test


def schedule(**queries: dict[str, Any]) -> dict[str, Any]:
    return {"schedule": {name: {"interval": ONCE, **members} for name, members in queries.items()}}


async def start(server: FakeServer, fleet: Fleet, config: dict[str, Any], **flags: object) -> Host:
    server.answers["config"] = [config]
    simulator = await fleet(flags=flags)
    await simulator.enrolled()
    host: Host = simulator.hosts[0]
    await host.log_now()
    return host


async def lines(server: FakeServer, host: Host, name: str = "q", kind: str = "result") -> list[dict[str, Any]]:
    """Run the query once and give what was sent of it."""
    before = len(server.logs(kind))
    await host.run_scheduled_now(name)
    await host.log_now()
    return [line for post in server.logs(kind)[before:] for line in post.body["data"]]


async def test_a_differential_query_logs_all_rows_first_and_then_what_changed(server: FakeServer, fleet: Fleet) -> None:
    sql = "SELECT name, value FROM osquery_flags WHERE name = 'distributed_interval'"
    host = await start(server, fleet, schedule(q={"query": sql}))
    [first] = await lines(server, host)
    host.flags.apply({"distributed_interval": 4444})
    removed, added = await lines(server, host)
    unchanged = await lines(server, host)

    assert (first["action"], first["counter"], first["columns"]["value"]) == ("added", 0, "9999")
    assert (removed["action"], removed["counter"], removed["columns"]["value"]) == ("removed", 1, "9999")
    assert (added["action"], added["counter"], added["columns"]["value"]) == ("added", 1, "4444")
    assert unchanged == []


async def test_members_of_an_event_line_come_in_osqueryds_order(server: FakeServer, fleet: Fleet) -> None:
    config = schedule(q={"query": "SELECT 2 AS b, 1 AS a"}) | {"decorators": {"load": ["SELECT 'v' AS k"]}}
    host = await start(server, fleet, config)
    [line] = await lines(server, host)

    assert " ".join(line) == (
        "name hostIdentifier calendarTime unixTime epoch counter numerics decorations columns action"
    )
    assert list(line["columns"]) == ["a", "b"]
    assert line["decorations"] == {"k": "v"}


async def test_removed_rows_can_be_left_out(server: FakeServer, fleet: Fleet) -> None:
    host = await start(server, fleet, schedule(q={"query": "SELECT value FROM osquery_flags", "removed": False}))
    await lines(server, host)
    host.flags.apply({"distributed_interval": 4444})

    assert [line["action"] for line in await lines(server, host)] == ["added"]


async def test_a_snapshot_is_one_line_even_when_empty_and_its_counter_stays_0(server: FakeServer, fleet: Fleet) -> None:
    host = await start(server, fleet, schedule(q={"query": "SELECT * FROM users WHERE uid = -5", "snapshot": True}))
    [first], [second] = await lines(server, host), await lines(server, host)

    assert list(first)[:3] == ["snapshot", "action", "name"]
    assert first["snapshot"] == second["snapshot"] == []
    assert second["counter"] == 0


async def test_a_snapshot_as_events_is_one_line_per_row_and_none_when_empty(server: FakeServer, fleet: Fleet) -> None:
    config = schedule(
        q={"query": "SELECT uid FROM users WHERE uid < 2", "snapshot": True},
        none={"query": "SELECT 1 WHERE 0", "snapshot": True},
    )
    host = await start(server, fleet, config, logger_snapshot_event_type=True)
    rows = await lines(server, host)

    assert [(line["action"], line["columns"]["uid"]) for line in rows] == [("snapshot", "0"), ("snapshot", "1")]
    assert await lines(server, host, "none") == []


async def test_batch_format_has_both_arrays_and_a_line_for_an_empty_first_run(server: FakeServer, fleet: Fleet) -> None:
    config = schedule(q={"query": "SELECT 1 AS one"}, none={"query": "SELECT 1 WHERE 0"})
    host = await start(server, fleet, config, logger_event_type=False)
    [line] = await lines(server, host)
    [empty] = await lines(server, host, "none")

    assert next(iter(line)) == "diffResults"
    assert list(line["diffResults"]) == ["removed", "added"]
    assert line["diffResults"] == {"removed": [], "added": [{"one": "1"}]}
    assert empty["diffResults"] == {"removed": [], "added": []}
    assert await lines(server, host, "none") == []


async def test_numerics_make_numbers_of_numbers_and_null_stays_a_text(server: FakeServer, fleet: Fleet) -> None:
    config = schedule(q={"query": "SELECT 1 AS i, 1.5 AS d, NULL AS n, 't' AS t", "snapshot": True})
    host = await start(server, fleet, config, logger_numerics=True)
    [line] = await lines(server, host)

    assert line["numerics"] is True
    assert line["snapshot"] == [{"d": 1.5, "i": 1, "n": "", "t": "t"}]


async def test_decorations_can_stand_at_the_top(server: FakeServer, fleet: Fleet) -> None:
    config = schedule(q={"query": "SELECT 1"}) | {"decorators": {"load": ["SELECT 'v' AS k"]}}
    host = await start(server, fleet, config, decorations_top_level=True)
    [line] = await lines(server, host)

    assert line["k"] == "v"
    assert "decorations" not in line


async def test_decorators_run_at_load_before_each_query_and_by_the_minute(
    server: FakeServer, fleet: Fleet, clock: VirtualClock
) -> None:
    decorators = {
        "load": ["SELECT value AS loaded FROM osquery_flags WHERE name = 'schedule_epoch'"],
        "always": ["SELECT value AS present FROM osquery_flags WHERE name = 'schedule_epoch'"],
        "interval": {"60": ["SELECT 'minute' AS timed"], "61": ["SELECT 1 AS refused"]},
    }
    clock.limit = 30
    host = await start(server, fleet, schedule(q={"query": "SELECT 1", "snapshot": True}) | {"decorators": decorators})
    host.flags.apply({"schedule_epoch": 5})
    [early] = await lines(server, host)
    await clock.run_to(60)
    [line] = await lines(server, host)

    assert early["decorations"] == {"loaded": "0", "present": "5"}

    assert line["decorations"] == {"loaded": "0", "present": "5", "timed": "minute"}


async def test_a_new_epoch_sends_the_complete_set_again(server: FakeServer, fleet: Fleet) -> None:
    host = await start(server, fleet, schedule(q={"query": "SELECT 1 AS one"}))
    await lines(server, host)
    host.flags.apply({"schedule_epoch": 7})
    [line] = await lines(server, host)

    assert (line["epoch"], line["counter"], line["action"]) == (7, 0, "added")


async def test_a_failing_query_is_a_status_line(server: FakeServer, fleet: Fleet) -> None:
    host = await start(server, fleet, schedule(q={"query": "SELECT * FROM no_such_table_x"}))
    [line] = await lines(server, host, kind="status")

    assert line["message"] == "Error executing scheduled query q: no such table: no_such_table_x"
    assert " ".join(line) == "hostIdentifier calendarTime unixTime severity filename line message version"


async def test_queries_come_by_themselves_at_their_interval(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [{"schedule": {"q": {"query": "SELECT 1", "interval": 2, "snapshot": True}}}]
    await fleet(flags={"logger_tls_period": 1})
    await server.until(lambda: sum(len(post.body["data"]) for post in server.logs()) >= 3)

    assert {line["name"] for post in server.logs() for line in post.body["data"]} == {"q"}


@pytest.mark.parametrize(("interval", "low", "high"), [(9, 9, 9), (100, 90, 110)])
async def test_an_interval_is_moved_by_up_to_a_tenth_and_remembered(
    server: FakeServer, fleet: Fleet, interval: int, low: int, high: int
) -> None:
    server.answers["config"] = [{"schedule": {"q": {"query": "SELECT 1", "interval": interval}}}]
    simulator = await fleet(profiles={"ubuntu": 20}, flags={"disable_distributed": True})
    await simulator.enrolled()
    for host in simulator.hosts:
        await host.until(lambda host: host.scheduler.schedule_rows())
        host.scheduler._next(0)
    splayed = {host.disk.queries["q"].splayed for host in simulator.hosts}

    assert all(low <= one <= high for one in splayed)
    assert (len(splayed) > 1) == (low < high)
