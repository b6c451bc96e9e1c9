"""Connections, headers, resending, redirects, time-outs."""

import gzip
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from osquery_simulator.report import Statistics
from osquery_simulator.testing import FakeServer, Reply

Fleet = Callable[..., Any]


async def test_every_request_comes_on_a_new_connection(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet()
    await simulator.enrolled()
    for _ in range(3):
        await simulator.hosts[0].poll_now()

    assert [asked.connection for asked in server.asked] == list(range(1, len(server.asked) + 1))


async def test_a_thread_leaves_its_socket_open_until_its_next_request(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet()
    await simulator.enrolled()
    host = simulator.hosts[0]
    await host.poll_now()
    await host.refresh_config_now()
    last = {asked.endpoint: asked.connection for asked in server.asked}
    first_config = server.of("config")[0].connection
    await server.until(lambda: len(server.open_connections) == 4)

    assert server.open_connections == {first_config, last["config"], last["distributed/read"], last["log"]}


async def test_connection_close_in_an_answer_makes_the_host_close_at_once(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply(headers={"Connection": "close"})]
    simulator = await fleet(flags={"disable_distributed": True, "tls_disable_status_log": True})
    await simulator.enrolled()
    await server.until(lambda: not server.open_connections)

    assert [asked.endpoint for asked in server.asked] == ["enroll", "config"]


async def test_with_keep_alive_each_thread_stays_on_its_connection(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet(keep_alive=True, flags={"tls_disable_status_log": True})
    await simulator.enrolled()
    for _ in range(3):
        await simulator.hosts[0].poll_now()

    assert len(server.connections) == 2


async def test_a_kept_connection_that_the_server_has_closed_costs_one_resend(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet(keep_alive=True, flags={"disable_distributed": True})
    await simulator.enrolled()
    host = simulator.hosts[0]
    await host.refresh_config_now()
    server.answers["config"] = [Reply(closes=True), {}]
    await host.refresh_config_now()

    assert len(server.of("config")) == 4
    assert not host.refresher.is_failing


async def test_headers_come_in_osqueryds_order(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet(accepts_gzip=True)
    await simulator.enrolled()
    enroll, config = server.of("enroll")[0], server.of("config")[0]

    assert [name for name, _ in enroll.headers] == [
        "Content-Type",
        "Accept",
        "User-Agent",
        "Host",
        "Accept-Encoding",
        "Content-Length",
    ]
    assert [name for name, _ in config.headers][2:5] == ["User-Agent", "Authorization", "Host"]
    assert dict(config.headers)["Authorization"] == "NodeKey KEY-1"


async def test_an_old_client_shows_its_key_in_the_body_only(server: FakeServer, fleet: Fleet) -> None:
    simulator = await fleet(sends_authorization=False)
    await simulator.enrolled()

    assert "Authorization" not in dict(server.of("config")[0].headers)
    assert server.of("config")[0].body == {"node_key": "KEY-1"}


async def test_a_broken_exchange_is_repeated_once_with_the_same_body(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply(closes=True), {"options": {}}]
    simulator = await fleet()
    await simulator.enrolled()
    first, second = server.of("config")

    assert first.raw == second.raw
    assert second.connection != first.connection
    assert not simulator.hosts[0].refresher.is_failing


async def test_half_an_answer_is_a_broken_exchange(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply('{"padding": "xxxxxxxxxxxx"}', breaks_off=True), {}]
    await (await fleet()).enrolled()

    assert len(server.of("config")) == 2


async def test_a_304_without_location_is_a_broken_exchange(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply("", status=304), {}]
    await (await fleet()).enrolled()

    assert len(server.of("config")) == 2


async def test_an_answer_above_8_mib_is_a_broken_exchange(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply('{"a":"' + "x" * 8 * 1024 * 1024 + '"}'), {}]
    await (await fleet()).enrolled()

    assert len(server.of("config")) == 2


async def test_two_broken_exchanges_are_one_failure(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply(closes=True), Reply(closes=True), {}]
    simulator = await fleet(flags={"config_tls_max_attempts": 1})
    await simulator.enrolled()

    assert len(server.of("config")) == 2
    assert simulator.hosts[0].refresher.is_failing


async def test_after_a_timeout_nothing_is_resent(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply(delay_seconds=18), {}]
    simulator = await fleet(flags={"config_tls_max_attempts": 1})
    await simulator.enrolled()

    assert len(server.of("config")) == 1
    assert simulator.statistics.failures == {"config: timeout": 1}


async def test_redirects_are_followed_with_the_same_body_on_the_same_connection(
    server: FakeServer, fleet: Fleet
) -> None:
    there = {"Location": "/api/v1/osquery/config2"}
    server.answers["config"] = [Reply("", status=307, headers=there)]
    server.answers["config2"] = [{"options": {"custom_x": 1}}]
    simulator = await fleet()
    await simulator.enrolled()
    [first], [second] = server.of("config"), server.of("config2")

    assert (second.raw, second.connection) == (first.raw, first.connection)
    assert simulator.hosts[0].config == {"options": {"custom_x": 1}}


async def test_the_status_is_ignored(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [Reply('{"options":{"custom_x":1}}', status=503, headers={"Retry-After": "60"})]
    simulator = await fleet()
    await simulator.enrolled()

    assert simulator.hosts[0].config == {"options": {"custom_x": 1}}


async def test_an_answer_in_chunks_is_understood(server: FakeServer, fleet: Fleet) -> None:
    chunks = b'd\r\n{"options":{}\r\n1\r\n}\r\n0\r\n\r\n'
    server.answers["config"] = [Reply(chunks, headers={"Transfer-Encoding": "chunked"})]
    simulator = await fleet()
    await simulator.enrolled()

    assert simulator.hosts[0].config == {"options": {}}


async def test_an_answer_without_a_length_ends_with_the_connection(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [
        Reply('{"options":{"custom_x":1}}', headers={"Content-Length": "", "Connection": "close"})
    ]
    simulator = await fleet()
    await simulator.enrolled()

    assert simulator.hosts[0].config == {"options": {"custom_x": 1}}


@pytest.mark.parametrize("reason", ["a", "b" * 200])
def test_reasons_of_failures_are_counted_and_bounded(reason: str) -> None:
    statistics = Statistics()
    for number in range(2000):
        statistics.failed("log", f"{number} {reason}")

    assert len(statistics.failures) <= 501
    assert sum(statistics.failures.values()) == 2000


async def test_an_unrequested_gzip_answer_fails_and_a_requested_one_does_not(server: FakeServer, fleet: Fleet) -> None:
    packed = Reply(gzip.compress(b'{"options":{"custom_x":1}}'), headers={"Content-Encoding": "gzip"})
    server.answers["config"] = [packed]
    plain = await fleet(flags={"config_tls_max_attempts": 1})
    asking = await fleet(accepts_gzip=True, seed="other")
    await plain.enrolled()
    await asking.enrolled()

    assert plain.hosts[0].refresher.is_failing
    assert asking.hosts[0].config == {"options": {"custom_x": 1}}


async def test_the_server_is_verified_and_no_session_is_resumed(
    server_tls: ssl.SSLContext, certificate: Path, fleet: Fleet
) -> None:
    async with FakeServer(server_tls) as fake:
        trusting = await fleet(url=fake.url, ca_file=certificate)
        await trusting.enrolled()
        await trusting.hosts[0].poll_now()
        strict = await fleet(url=fake.url, seed="stranger", flags={"tls_enroll_max_attempts": 1})
        await strict.hosts[0].until(lambda host: host.exits > 0)

        assert server_tls.session_stats()["hits"] == 0
        assert "CERTIFICATE_VERIFY_FAILED" in strict.hosts[0].remote.last_failure
