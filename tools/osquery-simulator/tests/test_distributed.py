"""Live queries."""

from collections.abc import Callable
from typing import Any

import pytest
from osquery_simulator import Host
from osquery_simulator.testing import FakeServer, Reply, VirtualClock

Fleet = Callable[..., Any]


@pytest.fixture
async def host(server: FakeServer, fleet: Fleet) -> Host:
    """A host that has polled once and rests."""
    simulator = await fleet()
    await simulator.enrolled()
    await simulator.hosts[0].poll_now()
    found: Host = simulator.hosts[0]
    return found


async def ask(server: FakeServer, host: Host, *answers: Any) -> None:
    server.answers["distributed/read"] = [*answers, {}]
    await host.poll_now()


def written(server: FakeServer) -> list[Any]:
    return [asked.body for asked in server.of("distributed/write")]


async def test_queries_run_in_byte_order_and_every_map_has_an_entry_for_each(server: FakeServer, host: Host) -> None:
    await ask(server, host, {"queries": {"order_b": "SELECT 1 AS b", "order_a": "SELEC", "Order_C": "SELECT 3 AS c"}})
    [body] = written(server)

    assert list(body) == ["queries", "statuses", "messages", "stats", "node_key"]
    for members in ("queries", "statuses", "messages", "stats"):
        assert list(body[members]) == ["Order_C", "order_a", "order_b"]
    assert body["statuses"] == {"Order_C": 0, "order_a": 1, "order_b": 0}
    assert body["messages"] == {"Order_C": "", "order_a": 'near "SELEC": syntax error', "order_b": ""}
    assert set(body["stats"]["order_a"]) == {"wall_time_ms", "user_time", "system_time", "memory"}


async def test_an_empty_sql_ends_the_reading_of_the_answer(server: FakeServer, host: Host) -> None:
    queries = {"before": "SELECT 1", "empty": "", "after": "SELECT 2"}
    await ask(server, host, {"queries": queries, "accelerate": 60})

    assert list(written(server)[0]["queries"]) == ["before"]
    assert host.distributed._pause() == 9999


async def test_a_number_in_place_of_sql_ends_the_reading_too(server: FakeServer, host: Host) -> None:
    await ask(server, host, {"queries": {"number": 5, "after": "SELECT 3"}})

    assert written(server) == []


@pytest.mark.parametrize("answer", [{"queries": None}, {}, Reply("")])
async def test_answers_without_queries_are_harmless(server: FakeServer, host: Host, answer: Any) -> None:
    await ask(server, host, answer)

    assert written(server) == []
    assert host.restarts == 0


async def test_discovery_without_rows_skips_a_query_and_reports_nothing(server: FakeServer, host: Host) -> None:
    queries = {"taken": "SELECT 1", "skipped": "SELECT 2", "undiscovered": "SELECT 3"}
    discovery = {"taken": "SELECT 1", "skipped": "SELECT 1 WHERE 0"}
    await ask(server, host, {"queries": queries, "discovery": discovery})

    assert list(written(server)[0]["queries"]) == ["taken", "undiscovered"]


async def test_a_failing_discovery_query_discards_the_whole_answer(server: FakeServer, host: Host) -> None:
    queries = {"blocked": "SELECT 1", "other": "SELECT 1"}
    await ask(server, host, {"queries": queries, "discovery": {"blocked": "SELECT * FROM nope"}, "accelerate": 60})

    assert written(server) == []
    assert host.distributed._pause() == 9999


async def test_accelerate_makes_polls_every_five_seconds_until_it_is_over(
    server: FakeServer, host: Host, clock: VirtualClock
) -> None:
    before = len(server.of("distributed/read"))
    await ask(server, host, {"accelerate": 17})
    await clock.run_to(clock.now() + 1000)

    assert server.waits("distributed/read")[before:] == [5, 5, 5, 5]
    assert host.distributed._pause() == 9999


@pytest.mark.parametrize("seconds", [1.5, "10", True])
async def test_accelerate_must_be_an_integer(server: FakeServer, host: Host, seconds: object) -> None:
    await ask(server, host, {"accelerate": seconds})

    assert host.distributed._pause() == 9999


async def test_a_failing_read_is_repeated_after_1_and_4_seconds(server: FakeServer, host: Host) -> None:
    before = len(server.of("distributed/read"))
    server.answers["distributed/read"] = [{"error": "x"}]
    await host.poll_now()

    assert server.waits("distributed/read")[before:] == [1, 4]


async def test_refused_results_are_sent_three_times_and_again_after_the_next_read(
    server: FakeServer, host: Host
) -> None:
    server.answers["distributed/write"] = [*[{"error": "x"}] * 3, {}]
    await ask(server, host, {"queries": {"q": "SELECT 1 AS one"}})
    refused = len(written(server))
    await host.poll_now()
    await host.poll_now()

    assert refused == 3
    assert len({str(body) for body in written(server)}) == 1
    assert len(written(server)) == 4
    assert host.distributed.answered == 1


async def test_a_query_that_ran_again_replaces_its_unsent_result(server: FakeServer, host: Host) -> None:
    server.answers["distributed/write"] = [*[{"error": "x"}] * 3, {}]
    await ask(server, host, {"queries": {"q": "SELECT 1 AS n"}}, {"queries": {"q": "SELECT 2 AS n"}})
    await host.poll_now()

    assert [body["queries"]["q"][0]["n"] for body in written(server)] == ["1", "1", "1", "2"]


async def test_node_invalid_on_a_write_brings_the_same_results_with_a_new_key(server: FakeServer, host: Host) -> None:
    server.answers["distributed/write"] = [{"node_invalid": True}, {}]
    await ask(server, host, {"queries": {"q": "SELECT 1 AS one"}})
    first, second = written(server)

    assert (first.pop("node_key"), second.pop("node_key")) == ("KEY-1", "KEY-2")
    assert first == second


async def test_a_worker_that_dies_before_answering_forgets_its_results(server: FakeServer, host: Host) -> None:
    host.script.crashes_before_answer = 1
    server.answers["distributed/read"] = [{"queries": {"q": "SELECT 1"}}, {}]
    host.distributed.beat.wake()
    await host.until(lambda host: host.restarts == 1)
    await host.poll_now()
    lost = written(server)
    await ask(server, host, {"queries": {"q": "SELECT 1"}})

    assert lost == []
    assert len(written(server)) == 1


async def test_a_query_that_killed_the_worker_is_denylisted_and_those_after_it_run(
    server: FakeServer, host: Host
) -> None:
    heavy = "SELECT 'heavy'"
    host.script.crashes_during_query[heavy] = 5
    offer = {"queries": {"heavy": heavy, "z_light": "SELECT 1 AS one"}}
    server.answers["distributed/read"] = [offer, {}]
    host.distributed.beat.wake()
    await server.until(lambda: written(server))
    await ask(server, host, offer)
    after_restart, offered_again = written(server)

    assert list(after_restart["queries"]) == ["z_light"]
    assert offered_again["statuses"] == {"heavy": 1, "z_light": 0}
    assert offered_again["messages"]["heavy"] == "distributed query is denylisted"
    assert offered_again["stats"]["heavy"] == {}


async def test_a_host_can_be_told_to_answer_twice(server: FakeServer, host: Host) -> None:
    host.script.answers_to_repeat = 1
    await ask(server, host, {"queries": {"q": "SELECT 1"}})
    first, second = server.of("distributed/write")

    assert first.raw == second.raw


async def test_a_lost_reply_brings_the_same_request_again(server: FakeServer, host: Host) -> None:
    server.answers["distributed/read"] = [{"queries": {"q": "SELECT 1"}}, {}]
    before = len(server.asked)
    host.lose_replies(1)
    await host.poll_now()
    first, second = server.asked[before:][:2]

    assert first.raw == second.raw
    assert first.connection != second.connection


async def test_an_offline_host_asks_nobody_and_comes_back(server: FakeServer, host: Host) -> None:
    host.go_offline()
    before = len(server.asked)
    await host.poll_now()
    silent = len(server.asked) == before
    host.go_online()
    await server.until(lambda: len(server.asked) > before)

    assert silent


async def test_a_distributed_error_is_a_status_line(server: FakeServer, host: Host) -> None:
    await ask(server, host, {"queries": {"bad": "SELECT nope FROM time"}})
    await host.log_now()
    [line] = [line for line in server.logs("status")[-1].body["data"] if line["filename"] == "distributed.cpp"]

    assert line["message"] == "Error executing distributed query: bad: no such column: nope"
    assert line["severity"] == 2
