"""Buffering, sending and losing of log lines."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from osquery_simulator import Host, Simulator
from osquery_simulator.testing import FakeServer, Reply

Fleet = Callable[..., Any]
SCHEDULE = {
    "schedule": {
        "tick": {"query": "SELECT unix_time FROM time", "interval": 604800, "snapshot": True},
        "wide": {"query": "SELECT hex(zeroblob(1000)) AS wide", "interval": 604800, "snapshot": True},
    }
}


@pytest.fixture
async def simulator(server: FakeServer, fleet: Fleet) -> Simulator:
    server.answers["config"] = [SCHEDULE]
    started: Simulator = await fleet(numbers_lines=True)
    await started.enrolled()
    await started.hosts[0].log_now()
    return started


@pytest.fixture
def host(simulator: Simulator) -> Host:
    return simulator.hosts[0]


async def tick(host: Host, times: int = 1) -> None:
    for _ in range(times):
        await host.run_scheduled_now("tick")


async def test_members_come_as_data_log_type_node_key(server: FakeServer, host: Host) -> None:
    await tick(host)
    await host.log_now()

    assert list(server.logs()[0].body) == ["data", "log_type", "node_key"]


async def test_compressed_members_come_in_the_other_recorded_order(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [SCHEDULE]
    host = (await fleet(flags={"logger_tls_compress": True})).hosts[0]
    await host.enrolled.wait()
    await tick(host)
    await host.log_now()
    [post] = server.logs()

    assert list(post.body) == ["node_key", "log_type", "data"]
    assert dict(post.headers)["Content-Encoding"] == "gzip"
    assert post.raw == gzip.compress(post.text.encode(), 9, mtime=0)


@pytest.mark.parametrize(
    "body", ["", "{}", '{"message":"Bad request"}', "null", "[]", "true", '{"node_invalid":"true"}']
)
async def test_lines_are_deleted_when_osqueryd_takes_the_answer_for_a_success(
    server: FakeServer, host: Host, body: str
) -> None:
    server.answers["log"] = [Reply(body, status=503)]
    await tick(host)
    await host.log_now()

    assert host.disk.waiting("result") == 0
    assert host.disk.counts["result"].accepted == 1


@pytest.mark.parametrize(
    "reply", [Reply('{"error":null}'), Reply("<html>", status=502), Reply('{"node_invalid":true}'), Reply(closes=True)]
)
async def test_lines_stay_when_osqueryd_takes_the_answer_for_a_failure(
    server: FakeServer, host: Host, reply: Reply
) -> None:
    server.answers["log"] = [reply]
    await tick(host)
    await host.log_now()

    assert host.disk.waiting("result") == 1
    assert host.disk.counts["result"].accepted == 0


async def test_empty_bodies_are_counted(server: FakeServer, simulator: Simulator) -> None:
    server.answers["log"] = [Reply("", status=500)]
    await tick(simulator.hosts[0])
    await simulator.hosts[0].log_now()

    assert simulator.report()["counters"]["empty_bodies"] == 1


async def test_after_n_failures_a_kind_waits_n_squared_periods(server: FakeServer, host: Host) -> None:
    server.answers["log"] = [{"error": "x"}]
    await tick(host)
    sent = []
    host.flags.apply({"logger_tls_backoff_max": 10**9})
    for _ in range(15):
        await host.log_now()
        sent.append(len(server.logs()))

    assert sent == [1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]


async def test_a_resend_has_the_old_lines_and_the_newer_ones(server: FakeServer, host: Host) -> None:
    server.answers["log"] = [{"error": "x"}, {}]
    await tick(host)
    await host.log_now()
    await tick(host)
    await host.log_now()
    first, second = [{line["decorations"]["simulator_line"] for line in post.body["data"]} for post in server.logs()]

    assert first < second
    assert len(second) == 2


async def test_results_and_statuses_back_off_separately(server: FakeServer, host: Host) -> None:
    server.answers["log"] = [{"error": "x"}, {}]
    await tick(host)
    host.logger.say(2, "a.cpp", 1, "said")
    await host.log_now()

    assert host.disk.waiting("result") == 1
    assert host.disk.waiting("status") == 0


async def test_at_most_1024_lines_go_at_once_and_results_starve_statuses(server: FakeServer, host: Host) -> None:
    await host.log_now()
    before = len(server.of("log"))
    await tick(host, 1030)
    host.logger.say(2, "a.cpp", 1, "said")
    await host.log_now()
    first_round = [len(post.body["data"]) for post in server.of("log")[before:]]
    await host.log_now()

    assert first_round == [1024]
    assert [len(post.body["data"]) for post in server.of("log")[before:]] == [1024, 6, 1]


async def test_a_line_above_the_limit_is_left_out_and_lost_with_the_batch(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [SCHEDULE]
    host = (await fleet(flags={"logger_tls_max_linesize": 1000})).hosts[0]
    await host.enrolled.wait()
    await tick(host)
    await host.run_scheduled_now("wide")
    await host.log_now()
    counts = host.disk.counts["result"]

    assert [line["name"] for line in server.logs()[0].body["data"]] == ["tick"]
    assert (counts.produced, counts.accepted, counts.dropped) == (2, 1, 1)


async def test_a_batch_of_oversized_lines_only_is_sent_empty(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [SCHEDULE]
    host = (await fleet(flags={"logger_tls_max_linesize": 1000})).hosts[0]
    await host.enrolled.wait()
    await host.run_scheduled_now("wide")
    await host.log_now()

    assert server.logs()[0].body["data"] == []


async def test_beyond_the_buffer_limit_the_oldest_lines_are_lost(server: FakeServer, fleet: Fleet) -> None:
    server.answers |= {"config": [SCHEDULE], "log": [{"error": "x"}]}
    host = (await fleet(flags={"buffered_log_max": 3, "tls_disable_status_log": True})).hosts[0]
    await host.enrolled.wait()
    await tick(host, 5)
    await host.log_now()

    assert host.disk.waiting("result") == 3
    assert host.disk.counts["result"].dropped == 2


async def test_status_lines_can_be_switched_off(server: FakeServer, fleet: Fleet) -> None:
    host = (await fleet(flags={"tls_disable_status_log": True})).hosts[0]
    await host.enrolled.wait()
    host.logger.say(2, "a.cpp", 1, "said")

    assert host.disk.waiting("status") == 0


async def test_a_refused_batch_comes_with_the_new_key_after_node_invalid(server: FakeServer, host: Host) -> None:
    server.answers["log"] = [{"node_invalid": True}, {}]
    await tick(host)
    await host.log_now()
    await host.log_now()
    first, second = server.logs()

    assert (first.body["node_key"], second.body["node_key"]) == ("KEY-1", "KEY-2")
    assert first.body["data"] == second.body["data"]


async def test_an_answer_that_kills_the_worker_brings_the_batch_again(server: FakeServer, host: Host) -> None:
    server.answers["log"] = [Reply("5"), {}]
    await tick(host)
    host.logger.beat.wake()
    await host.until(lambda host: host.disk.counts["result"].accepted == 1)
    first, second = server.logs()

    assert first.raw == second.raw
    assert host.restarts == 1


async def test_waiting_lines_survive_a_restart(server: FakeServer, fleet: Fleet, tmp_path: Path) -> None:
    server.answers |= {"config": [SCHEDULE], "log": [{"error": "x"}]}
    first = await fleet(state_dir=tmp_path, numbers_lines=True)
    await first.enrolled()
    await tick(first.hosts[0], 2)
    assert await first.stop() == []
    server.answers["log"] = [{}]
    second = await fleet(state_dir=tmp_path, numbers_lines=True)
    await second.hosts[0].until(lambda host: host.disk.counts["result"].accepted == 2)

    assert second.lines() == {"produced": 2, "accepted": 2, "dropped": 0, "waiting": 0}
    assert len(set(second.hosts[0].accepted_lines)) == 2


async def test_the_account_names_every_accepted_line(server: FakeServer, fleet: Fleet, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    server.answers["config"] = [SCHEDULE]
    simulator = await fleet(account_file=account, numbers_lines=True, profiles={"macos": 1})
    await simulator.enrolled()
    [host] = simulator.hosts
    await tick(host, 3)
    await host.log_now()
    await tick(host)
    assert await simulator.stop() == []
    written = json.loads(account.read_text())
    ids = [json.loads(line) for line in (tmp_path / "account.json.ids.ndjson").read_text().splitlines()]
    sent = [line["decorations"]["simulator_line"] for line in server.logs()[0].body["data"]]

    assert written["hosts"][host.host_identifier]["result"] == {
        "produced": 4,
        "accepted": 3,
        "dropped": 0,
        "waiting": 1,
    }
    assert [entry["id"] for entry in ids if entry["log_type"] == "result"] == sent
    assert written["accepted_ids"] == {"file": "account.json.ids.ndjson", "is_cut": False}


async def test_the_file_of_ids_is_bounded(server: FakeServer, fleet: Fleet, tmp_path: Path) -> None:
    account = tmp_path / "account.json"
    server.answers["config"] = [SCHEDULE]
    simulator = await fleet(account_file=account, account_limit=2, numbers_lines=True)
    await simulator.enrolled()
    await tick(simulator.hosts[0], 3)
    await simulator.hosts[0].log_now()
    assert await simulator.stop() == []

    assert len((tmp_path / "account.json.ids.ndjson").read_text().splitlines()) == 2
    assert json.loads(account.read_text())["accepted_ids"]["is_cut"] is True
