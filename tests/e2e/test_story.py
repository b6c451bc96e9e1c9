"""The main job: a fleet enrolls, takes a config merged from two layers, answers a live query, and its logs arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flotilla_common.testing.waiting import eventually
from flotilla_stack.testing import RunningStack

from . import people
from .machines import Fleet, Machines
from .people import Person
from .shipped import Shipped

HOSTS_PER_TEAM = 25
GLOBAL_OPTIONS = {
    "config": {
        "options": {"distributed_interval": 2, "logger_tls_period": 2, "schedule_splay_percent": 11},
        "decorators": {"load": ["SELECT uuid AS host_uuid FROM system_info;"]},
    },
    "overrides": {"platforms": {"darwin": {"options": {"distributed_interval": 2, "schedule_splay_percent": 12}}}},
}
MERGED_OPTIONS = {"config": {"options": {"logger_tls_period": 1}}}
REPLACING_OPTIONS = {
    "config": {"options": {"distributed_interval": 2, "logger_tls_period": 1, "schedule_splay_percent": 13}}
}
FLAGS = {"config_refresh": 2, "distributed_interval": 2}


@dataclass
class Town:
    """Two teams of simulated hosts."""

    merged_id: int
    merged_secret: str
    replaced_id: int
    replaced_secret: str
    fleets: list[Fleet]


async def prepare(dev: dict[str, Any]) -> tuple[int, str, int, str]:
    async with people.person(dev["url"], dev["ca_file"], dev["admin"]["token"]) as admin:
        await admin.call("PATCH", "/config", {"agent_options": GLOBAL_OPTIONS})
        merged = await admin.team("Laptops", mode="merge", options=MERGED_OPTIONS)
        replaced = await admin.team("Servers", mode="replace", options=REPLACING_OPTIONS)
        schedule = {"interval": 2, "logging": "snapshot", "automations_enabled": True}
        for name, team_id in (("Everywhere", None), ("On servers", replaced[0])):
            query = {"name": name, "query": "SELECT version FROM osquery_info", "team_id": team_id, **schedule}
            await admin.call("POST", "/queries", query)
    return *merged, *replaced


@pytest.fixture(scope="module")
def town(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """50 hosts of all platforms in two teams, one that merges and one that replaces."""
    dev = stack.dev()
    merged_id, merged_secret, replaced_id, replaced_secret = asyncio.run(prepare(dev))
    machines = Machines(dev["url"], dev["ca_file"], tmp_path_factory.mktemp("town"))
    with (
        machines.fleet("laptops", merged_secret, hosts=HOSTS_PER_TEAM, **FLAGS) as laptops,
        machines.fleet("servers", replaced_secret, hosts=HOSTS_PER_TEAM, **FLAGS) as servers,
    ):
        yield Town(merged_id, merged_secret, replaced_id, replaced_secret, [laptops, servers])


def is_simulated(host: dict[str, Any]) -> bool:
    """Tell a simulated host from those that a test speaks for: these answer no live query."""
    return not str(host["uuid"]).startswith("e2e-")


async def settled(admin: Person, team_id: int) -> list[dict[str, Any]]:
    """Return a team's simulated hosts once all have come in and are online."""

    async def all_here() -> list[dict[str, Any]]:
        found = [host for host in await admin.hosts(team_id=team_id, status="online") if is_simulated(host)]
        assert len(found) == HOSTS_PER_TEAM, f"{len(found)} hosts"
        return found

    found: list[dict[str, Any]] = await eventually(all_here, timeout=60)
    return found


async def test_a_fleet_enrolls_into_the_teams_of_its_secrets(admin: Person, town: Town) -> None:
    laptops = await settled(admin, town.merged_id)
    servers = await settled(admin, town.replaced_id)

    assert {host["team_name"] for host in laptops} == {"Laptops"}
    assert {host["team_name"] for host in servers} == {"Servers"}
    assert {host["platform"] for host in laptops + servers} >= {"ubuntu", "rhel", "darwin", "windows"}


async def test_a_merging_team_gets_both_layers_and_a_replacing_one_only_its_own(town: Town, machines: Machines) -> None:
    async with machines.machine("e2e-merged") as laptop, machines.machine("e2e-replaced") as server:
        await laptop.enroll(town.merged_secret)
        await server.enroll(town.replaced_secret)
        merged, replaced = await laptop.config(), await server.config()

    assert merged["options"]["schedule_splay_percent"] == 11
    assert merged["options"]["distributed_interval"] == 2
    assert merged["options"]["logger_tls_period"] == 1
    assert merged["decorators"] == GLOBAL_OPTIONS["config"]["decorators"]
    assert replaced["options"] == REPLACING_OPTIONS["config"]["options"]
    assert "decorators" not in replaced
    assert "Everywhere" in merged["packs"]["Global"]["queries"]
    assert f"team-{town.merged_id}" not in merged["packs"]
    assert list(replaced["packs"][f"team-{town.replaced_id}"]["queries"]) == ["On servers"]


async def test_an_edit_reaches_every_gateway(
    admin: Person, stack: RunningStack, town: Town, machines: Machines
) -> None:
    edited = {"config": {"options": {"logger_tls_period": 1, "schedule_max_drift": 77}}}
    gateways = [gateway["url"] for gateway in stack.dev()["gateways"]]
    async with machines.machine("e2e-edit") as laptop:
        await laptop.enroll(town.merged_secret)
        await admin.call("POST", f"/teams/{town.merged_id}/agent_options", edited)
        for url in gateways:
            async with machines.machine("e2e-edit", url=url) as direct:
                direct.node_key = laptop.node_key

                async def has_it(direct=direct) -> bool:
                    return (await direct.config()).get("options", {}).get("schedule_max_drift") == 77

                await eventually(has_it, timeout=10)
        options = (await laptop.config())["options"]

    def fleet_has_it() -> bool:
        drifts = [host["config"].get("options", {}).get("schedule_max_drift") for host in town.fleets[0].hosts()]
        return drifts == [77] * HOSTS_PER_TEAM

    await eventually(fleet_has_it, timeout=30)
    assert options["schedule_splay_percent"] == 11


@pytest.mark.parametrize("label_name", ["macOS", "All Linux"])
async def test_two_viewers_of_a_live_query_on_a_label_each_see_every_host_once(
    admin: Person, town: Town, label_name: str
) -> None:
    running = {host["id"] for team in (town.merged_id, town.replaced_id) for host in await settled(admin, team)}
    labels = {label["name"]: label["id"] for label in (await admin.call("GET", "/labels"))["labels"]}
    members = (await admin.call("GET", f"/labels/{labels[label_name]}/hosts"))["hosts"]
    expected = sorted(running & {host["id"] for host in members})
    await admin.call("POST", "/labels", {"name": f"Asked {label_name}", "host_ids": expected})
    labels = {label["name"]: label["id"] for label in (await admin.call("GET", "/labels"))["labels"]}
    campaign_id = await admin.run("SELECT name, version FROM os_version", labels=[labels[f"Asked {label_name}"]])
    first, second = await asyncio.gather(admin.watch(campaign_id, linger=3), admin.watch(campaign_id, linger=3))

    assert expected
    assert sorted(first.host_ids) == expected
    assert sorted(second.host_ids) == expected
    assert all(len(result["rows"]) == 1 and result["rows"][0]["version"] for result in first.results)
    assert first.status["status"] == "finished"


async def test_a_live_query_waits_for_its_answer_by_rest(admin: Person, town: Town) -> None:
    host = (await settled(admin, town.merged_id))[0]
    answer = await admin.call("POST", f"/hosts/{host['id']}/query", {"query": "SELECT uuid FROM system_info"})

    assert answer["rows"] == [{"uuid": host["uuid"]}]
    assert answer["status"] == "online"


async def test_a_moved_host_gets_the_config_of_its_new_team(admin: Person, town: Town, machines: Machines) -> None:
    async with machines.machine("e2e-moved") as machine:
        await machine.enroll(town.merged_secret)
        before = await machine.config()
        host = (await admin.call("GET", "/hosts/identifier/e2e-moved"))["host"]
        await admin.call("POST", "/hosts/transfer", {"team_id": town.replaced_id, "hosts": [host["id"]]})

        async def has_moved() -> dict[str, Any] | None:
            config = await machine.config()
            return config if config["options"] == REPLACING_OPTIONS["config"]["options"] else None

        after = await eventually(has_moved, timeout=10)

    assert before["options"]["schedule_splay_percent"] == 11
    assert f"team-{town.replaced_id}" in after["packs"]


async def test_a_deleted_host_is_refused_for_good(admin: Person, town: Town, machines: Machines) -> None:
    async with machines.machine("e2e-deleted") as machine:
        await machine.enroll(town.merged_secret)
        host = (await admin.call("GET", "/hosts/identifier/e2e-deleted"))["host"]
        await admin.call("DELETE", f"/hosts/{host['id']}")

        async def is_refused() -> dict[str, Any] | None:
            answer = await machine.config()
            return answer if "error" in answer else None

        answer = await eventually(is_refused, timeout=10)

    assert answer["node_invalid"] is True


async def test_every_accepted_line_is_once_in_the_files_and_once_in_the_bucket(town: Town, shipped: Shipped) -> None:
    """The last one: it stops the hosts, so that what they sent is final."""
    await eventually(lambda: all(fleet.report()["lines"]["result"]["accepted"] > 50 for fleet in town.fleets), 60)
    for fleet in town.fleets:
        fleet.stop()
    by_kind = [lines for fleet in town.fleets for lines in fleet.accepted().values()]
    accepted = [line for lines in by_kind for line in lines]

    await eventually(lambda: set(accepted) <= set(shipped.in_files()), timeout=30)
    await eventually(lambda: set(accepted) <= set(shipped.in_bucket()), timeout=60)
    assert all(by_kind), "a fleet has sent no result lines, or no status lines"
    in_files, in_bucket = shipped.in_files(), shipped.in_bucket()
    assert {line: in_files[line] for line in accepted} == dict.fromkeys(accepted, 1)
    assert {line: in_bucket[line] for line in accepted} == dict.fromkeys(accepted, 1)


def test_reports_hold_no_reenrollment(town: Town, tmp_path: Path) -> None:
    reports = [fleet.report() for fleet in town.fleets]

    assert [report["counters"].get("re-enrolls", 0) for report in reports] == [0, 0]
    assert [report["counters"].get("empty_bodies", 0) for report in reports] == [0, 0]
