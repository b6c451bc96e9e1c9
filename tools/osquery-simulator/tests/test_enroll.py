"""Enrolment, re-enrolment, restarts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from osquery_simulator import identity
from osquery_simulator.testing import FakeServer, Reply

Fleet = Callable[..., Any]


async def test_a_host_enrolls_once_and_uses_its_key(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet()
    await simulator.enrolled()
    await simulator.hosts[0].poll_now()

    assert len(server.of("enroll")) == 1
    assert server.of("distributed/read")[0].text == '{"node_key":"KEY-1"}'


async def test_an_enrolment_describes_the_host(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet()
    await simulator.enrolled()
    body, host = server.of("enroll")[0].body, simulator.hosts[0]

    assert list(body) == ["enroll_secret", "host_identifier", "platform_type", "host_details"]
    assert body["host_identifier"] == host.host_identifier == body["host_details"]["osquery_info"]["uuid"]
    assert body["host_details"]["system_info"]["hardware_serial"] == host.identity.serial
    assert len(body["host_details"]["system_info"]["cpu_brand"]) == 48
    assert body["host_details"]["system_info"]["cpu_brand"].endswith("\0")


@pytest.mark.parametrize(("chosen", "name"), [("uuid", "uuid"), ("hostname", "hostname"), ("instance", "instance_id")])
async def test_the_identifier_is_what_the_flag_says(server: FakeServer, fleet: Fleet, chosen: str, name: str) -> None:
    simulator = await fleet(flags={"host_identifier": chosen})
    await simulator.enrolled()

    assert server.of("enroll")[0].body["host_identifier"] == getattr(simulator.hosts[0].identity, name)


@pytest.mark.parametrize(("profile", "mask"), [("ubuntu", "9"), ("rhel", "9"), ("macos", "21"), ("windows", "2")])
async def test_every_profile_enrolls_with_its_platform_mask(
    server: FakeServer, fleet: Fleet, profile: str, mask: str
) -> None:
    await (await fleet(profiles={profile: 1})).enrolled()
    body = server.of("enroll")[0].body

    assert body["platform_type"] == mask
    assert all(isinstance(value, str) for row in body["host_details"].values() for value in row.values())


async def test_refused_enrolments_are_repeated_after_1_4_9_and_16_seconds(server: FakeServer, fleet: Fleet) -> None:
    refusals = [{"error": "x", "node_invalid": True}, {}, {"node_key": ""}, Reply("<html>", status=502)]
    server.answers["enroll"] = [*refusals, Reply(closes=True), {"node_key": "K"}]
    await (await fleet()).enrolled()

    assert server.waits("enroll") == [1, 4, 9, 16, 0]


async def test_without_a_key_requests_go_out_with_an_empty_one_and_no_header(server: FakeServer, fleet: Fleet) -> None:
    server.answers["enroll"] = [*[{"error": "x"}] * 4, {"node_key": "K"}]
    simulator = await fleet(flags={"tls_enroll_max_attempts": 2})
    await simulator.enrolled()
    config = server.of("config")[0]

    assert config.body == {"node_key": ""}
    assert "Authorization" not in dict(config.headers)
    assert simulator.hosts[0].node_key == "K"


async def test_osqueryd_ends_when_all_rounds_of_its_start_fail_and_is_started_again(
    server: FakeServer, fleet: Fleet
) -> None:
    server.answers["enroll"] = [*[{"error": "x"}] * 8, {"node_key": "K"}]
    simulator = await fleet(flags={"tls_enroll_max_attempts": 2})
    await simulator.enrolled()

    assert simulator.hosts[0].exits == 1
    assert simulator.hosts[0].node_key == "K"


async def test_node_invalid_drops_the_key_and_the_next_request_enrolls_first(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet()
    await simulator.enrolled()
    host = simulator.hosts[0]
    await host.poll_now()
    server.answers["distributed/read"] = [{"node_invalid": True, "error": "x"}, {}]
    await host.poll_now()

    assert [asked.endpoint for asked in server.asked[-3:]] == ["distributed/read", "enroll", "distributed/read"]
    assert host.node_key == "KEY-2"
    assert simulator.report()["counters"]["re-enrolls"] == 1


async def test_an_error_without_node_invalid_keeps_the_key(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet(flags={"distributed_tls_max_attempts": 1})
    await simulator.enrolled()
    server.answers["distributed/read"] = [{"error": "database down"}]
    await simulator.hosts[0].poll_now()

    assert simulator.hosts[0].node_key == "KEY-1"


async def test_a_restart_with_the_same_state_folder_enrolls_nobody(
    server: FakeServer, fleet: Fleet, tmp_path: Path
) -> None:
    first = await fleet(state_dir=tmp_path)
    await first.enrolled()
    assert await first.stop() == []
    second = await fleet(state_dir=tmp_path)
    await second.enrolled()

    assert len(server.of("enroll")) == 1
    assert second.hosts[0].node_key == "KEY-1"


async def test_an_answer_that_kills_the_worker_costs_its_memory_and_not_its_key(
    server: FakeServer, fleet: Fleet
) -> None:
    simulator = await fleet()
    await simulator.enrolled()
    server.answers["distributed/read"] = [Reply('"x"'), {}]
    host = simulator.hosts[0]
    host.distributed.beat.wake()
    await host.until(lambda host: host.restarts == 1)
    await server.until(lambda: len(server.of("config")) == 2)

    assert len(server.of("enroll")) == 1


def test_the_same_seed_and_index_make_the_same_host() -> None:
    one, again, other = (identity.make("s", 7, "rhel"), identity.make("s", 7, "rhel"), identity.make("s", 8, "rhel"))

    assert one == again
    assert one.uuid != other.uuid
    assert json.dumps(one.hostname) == '"rhel-00007"'
