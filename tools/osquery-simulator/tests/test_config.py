"""Configurations: when they are asked for, what of them counts."""

from collections.abc import Callable
from typing import Any

import pytest
from osquery_simulator.config import HostKind, is_platform, parse_config
from osquery_simulator.flags import Flags
from osquery_simulator.testing import FakeServer, Reply

Fleet = Callable[..., Any]
LINUX = HostKind("linux", "5.23.0", 50)


def names(document: dict[str, Any], kind: HostKind = LINUX) -> list[str]:
    return [query.name for pack in parse_config(document, Flags({}), kind).packs for query in pack.queries]


def scheduled(**members: object) -> dict[str, Any]:
    return {"schedule": {"q": {"query": "SELECT 1", "interval": 60, **members}}}


async def test_failing_requests_are_repeated_after_1_and_4_seconds_and_the_old_configuration_stays(
    server: FakeServer, fleet: Fleet
) -> None:
    server.answers["config"] = [{"options": {"custom_x": 1}}]
    simulator = await fleet()
    await simulator.enrolled()
    server.answers["config"] = [{"error": "x"}]
    await simulator.hosts[0].refresh_config_now()
    waits = server.waits("config")[1:]

    assert waits == [1, 4]
    assert simulator.hosts[0].config == {"options": {"custom_x": 1}}


async def test_after_a_failure_the_host_asks_again_at_the_accelerated_pace(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [{"error": "x"}, {}]
    flags = {"config_refresh": 9999, "config_accelerated_refresh": 1, "config_tls_max_attempts": 1}
    await (await fleet(flags=flags)).enrolled()
    await server.until(lambda: len(server.of("config")) == 2)

    assert len(server.of("config")) == 2


async def test_a_configuration_that_differs_is_announced_and_the_same_one_changes_nothing(
    server: FakeServer, fleet: Fleet
) -> None:
    server.answers["config"] = [{"options": {}}, {"options": {}}, {"options": {"custom_x": 2}}]
    simulator = await fleet()
    await simulator.enrolled()
    host = simulator.hosts[0]
    await host.refresh_config_now()
    unchanged = host.refresher.changes
    await host.refresh_config_now()
    config = await host.config_changed(lambda config: config["options"])

    assert unchanged == 1
    assert config == {"options": {"custom_x": 2}}


async def test_options_take_effect_at_run_time(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [{"options": {"distributed_interval": 1}}]
    await fleet()
    await server.until(lambda: len(server.of("distributed/read")) >= 3)

    assert len(server.of("distributed/read")) >= 3


async def test_etags_travel_in_the_bodies(server: FakeServer, fleet: Fleet) -> None:
    server.answers["config"] = [{"options": {"custom_x": 1}, "etag": "v1"}, {"etag": "ok"}]
    simulator = await fleet(uses_etag=True)
    await simulator.enrolled()
    await simulator.hosts[0].refresh_config_now()

    assert [asked.body.get("etag") for asked in server.of("config")] == ["", "v1"]
    assert simulator.hosts[0].config == {"options": {"custom_x": 1}}


async def test_a_configuration_above_4_mib_unschedules_until_a_different_one_comes(
    server: FakeServer, fleet: Fleet
) -> None:
    small = scheduled(interval=604800)
    server.answers["config"] = [small, Reply('{"x":"' + "x" * 4 * 1024 * 1024 + '"}'), small]
    simulator = await fleet()
    await simulator.enrolled()
    host = simulator.hosts[0]
    before = host.scheduler.schedule_rows()
    await host.refresh_config_now()
    during = host.scheduler.schedule_rows()
    await host.refresh_config_now()

    assert [row["name"] for row in before] == ["q"]
    assert during == []
    assert [row["name"] for row in host.scheduler.schedule_rows()] == ["q"]


async def test_a_pack_runs_only_while_its_discovery_finds_something(server: FakeServer, fleet: Fleet) -> None:
    queries = {"queries": {"q": {"query": "SELECT 1", "interval": 60}}}
    found, missed = {"discovery": ["SELECT 1"], **queries}, {"discovery": ["SELECT 1 WHERE 0"], **queries}
    server.answers["config"] = [{"packs": {"found": found, "missed": missed}}]
    simulator = await fleet()
    await simulator.enrolled()

    assert [row["name"] for row in simulator.hosts[0].scheduler.schedule_rows()] == ["pack_found_q"]


def test_names_of_pack_queries_use_the_delimiter_of_the_same_configuration() -> None:
    document = {"options": {"pack_delimiter": "/"}, "packs": {"Global": {"queries": {"a b": {"query": "SELECT 1"}}}}}

    assert names(document) == ["pack/Global/a b"]


@pytest.mark.parametrize("interval", [0, -1, 604801, "no number", True])
def test_an_unsound_interval_drops_the_query_but_true_counts_as_missing(interval: object) -> None:
    assert names(scheduled(interval=interval)) == (["q"] if interval is True else [])


@pytest.mark.parametrize("name", ["query.x", "cache.x", "config_views.x", "my epoch", "my counter", ""])
def test_names_that_collide_with_internal_keys_are_refused(name: str) -> None:
    assert names({"schedule": {name: {"query": "SELECT 1"}}}) == []


def test_platform_version_and_shard_select_the_host() -> None:
    assert names(scheduled(platform="darwin,linux")) == ["q"]
    assert names(scheduled(platform="windows")) == []
    assert names(scheduled(version="5.23.0")) == ["q"]
    assert names(scheduled(version="5.100.0")) == []
    assert names(scheduled(shard=51)) == ["q"]
    assert names(scheduled(shard="50")) == []


@pytest.mark.parametrize(
    ("wanted", "platforms"),
    [
        ("", {"linux", "darwin", "windows"}),
        ("null", {"linux", "darwin", "windows"}),
        ("any", {"linux", "darwin", "windows"}),
        ("ubuntu", {"linux"}),
        ("posix", {"linux", "darwin"}),
        ("darwin", {"darwin"}),
        ("windows", {"windows"}),
        ("chrome", set()),
    ],
)
def test_platform_words_mean_families(wanted: str, platforms: set[str]) -> None:
    assert {platform for platform in ("linux", "darwin", "windows") if is_platform(wanted, platform)} == platforms


def test_odd_parts_of_a_configuration_are_left_out() -> None:
    odd = {"options": [], "schedule": {"a": 5, "b": {"query": 7}, "c": {"query": "SELECT 1"}}, "packs": {"p": "path"}}

    assert names(odd) == ["c"]


def test_an_option_that_has_gone_keeps_its_value_and_start_up_flags_cannot_be_set() -> None:
    flags = Flags({})
    warnings = flags.apply({"distributed_interval": "7", "config_refresh": 1, "no_such_flag": 1, "custom_mine": 1})
    flags.apply({})

    assert flags.number("distributed_interval") == 7
    assert ["--config_refresh" in warnings[0], "no_such_flag" in warnings[1], len(warnings)] == [True, True, 2]
