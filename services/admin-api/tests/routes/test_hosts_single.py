"""One host by id or by any of its names, search, and the summary."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flotilla_common.contracts.labels import ALL_HOSTS

from .conftest import LONG_AGO


async def test_a_host_alone_has_labels_policies_packs_and_software(ask, fleet, admin):
    host_id = await fleet.host("db-1")
    await fleet.label("Racks", host_id)

    host = (await ask(admin, f"GET /hosts/{host_id}")).json()["host"]

    assert [label["name"] for label in host["labels"]] == ["All Hosts", "Racks"]
    assert (host["policies"], host["packs"], host["software"], host["batteries"]) == ([], [], [], None)
    assert host["mdm"]["device_status"] == "unlocked"


async def test_software_can_be_left_out(ask, fleet, admin):
    host_id = await fleet.host("db-1")

    assert "software" not in (await ask(admin, f"GET /hosts/{host_id}", exclude_software="true")).json()["host"]


async def test_an_unknown_host_is_not_found(ask, admin):
    answer = await ask(admin, "GET /hosts/99")

    assert answer.status_code == 404
    assert answer.json()["message"] == "Resource Not Found"
    assert answer.json()["errors"] == [{"name": "base", "reason": "Host 99 was not found in the datastore"}]


@pytest.mark.parametrize("path", ["GET /hosts/abc", "GET /hosts/-1", "GET /hosts/99999999999999999999"])
async def test_what_is_no_id_is_not_found(ask, admin, path):
    assert (await ask(admin, path)).status_code == 404


@pytest.mark.parametrize("identifier", ["db-1", "DB-1", "id-db-1", "key-of-db-1", "3f0c-9", "SN-12"])
async def test_a_host_is_found_by_each_of_its_names(ask, fleet, admin, identifier):
    host_id = await fleet.host("db-1", uuid="3f0c-9", hardware_serial="SN-12")
    await fleet.host("db-2", uuid="3f0c-8", hardware_serial="SN-13")

    answer = await ask(admin, f"GET /hosts/identifier/{identifier}")

    assert answer.json()["host"]["id"] == host_id


async def test_machines_that_share_all_names_are_told_apart_by_their_identifier(ask, fleet, admin):
    shared = {"uuid": "3f0c-9", "hardware_serial": "SN-12"}
    first = await fleet.host("db-1", host_identifier="3f0c-9", node_key_hash=None, **shared)
    newcomer = await fleet.host("db-1", host_identifier="3f0c-9#0badcafe", node_key_hash=None, **shared)

    listed = (await ask(admin, "GET /hosts")).json()["hosts"]
    by_own = (await ask(admin, "GET /hosts/identifier/3f0c-9%230badcafe")).json()["host"]
    by_shared = (await ask(admin, "GET /hosts/identifier/3f0c-9")).json()["host"]

    assert {host["id"]: host["host_identifier"] for host in listed} == {first: "3f0c-9", newcomer: "3f0c-9#0badcafe"}
    assert (by_own["id"], by_own["host_identifier"]) == (newcomer, "3f0c-9#0badcafe")
    assert by_shared["id"] == first


@pytest.mark.parametrize("identifier", ["db", "db-1%25", "d%5C-1", "nothing"])
async def test_names_are_not_patterns(ask, fleet, admin, identifier):
    await fleet.host("db-1")

    assert (await ask(admin, f"GET /hosts/identifier/{identifier}")).status_code == 404


async def test_of_several_hosts_with_a_name_the_first_is_shown(ask, fleet, admin):
    first = await fleet.host("twin", host_identifier="t1", node_key_hash=None)
    await fleet.host("twin", host_identifier="t2", node_key_hash=None)

    assert (await ask(admin, "GET /hosts/identifier/twin")).json()["host"]["id"] == first


async def test_hosts_with_empty_facts_are_not_found_by_emptiness(ask, fleet, admin):
    await fleet.host("db-1", uuid="", hardware_serial="")

    assert (await ask(admin, "GET /hosts/identifier/%20")).status_code == 404


@pytest.mark.parametrize("role", ["admin", "maintainer", "observer_plus", "observer", "gitops"])
async def test_members_of_a_team_read_its_hosts_alone(ask, fleet, make_user, make_team, role):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    mine, theirs, nobodys = await fleet.host("a", own), await fleet.host("b", foreign), await fleet.host("c")
    member = await make_user(role, own, api_only=role == "gitops")
    allowed = 403 if role == "gitops" else 200  # gitops reads by identifier only

    statuses = [(await ask(member, f"GET /hosts/{host_id}")).status_code for host_id in (mine, theirs, nobodys)]
    named = [(await ask(member, f"GET /hosts/identifier/{name}")).status_code for name in ("a", "b", "c")]

    assert statuses == [allowed, 403, 403]
    assert named == [200, 403, 403]


async def test_search_offers_ten_hosts_newest_first_without_those_that_are_chosen(ask, fleet, admin):
    ids = [await fleet.host(f"web-{number}") for number in range(12)]
    await fleet.host("db-1")

    answer = await ask(admin, "POST /hosts/search", {"query": "WEB", "excluded_host_ids": ids[-1:]})

    assert [host["id"] for host in answer.json()["hosts"]] == ids[-2:0:-1]


@pytest.mark.parametrize(("observer_can_run", "expected"), [(None, []), (False, []), (True, ["a"])])
async def test_search_offers_observers_only_what_they_may_query(
    ask, fleet, make_user, make_team, observer_can_run, expected
):
    team = await make_team("Own")
    await fleet.host("a", team)
    await fleet.host("b")
    observer = await make_user("observer", team)
    query = None if observer_can_run is None else await fleet.query("q", observer_can_run=observer_can_run)

    answer = await ask(observer, "POST /hosts/search", {"query": "", "query_id": query})

    assert [host["hostname"] for host in answer.json()["hosts"]] == expected


async def test_search_for_an_unknown_query_is_not_found(ask, admin):
    assert (await ask(admin, "POST /hosts/search", {"query": "", "query_id": 99})).status_code == 404


async def test_a_host_is_refreshed_by_whoever_may_read_it(ask, fleet, inventory, make_user, make_team):
    team = await make_team("Own")
    mine, theirs = await fleet.host("a", team), await fleet.host("b")
    observer = await make_user("observer", team)

    statuses = [(await ask(observer, f"POST /hosts/{host_id}/refetch")).status_code for host_id in (mine, theirs, 99)]

    assert statuses == [200, 403, 404]
    assert [request.host_id for request in inventory.asked] == [mine]


async def test_the_summary_totals_hosts_by_state_and_platform(ask, fleet, admin, clock):
    await fleet.host("a", platform="ubuntu")
    await fleet.host("b", platform="ubuntu", seen=LONG_AGO)
    await fleet.host("c", platform="rhel", seen=timedelta(days=31), created_at=clock() - timedelta(days=40))
    await fleet.host("d", platform="darwin")

    body = (await ask(admin, "GET /host_summary")).json()

    assert {name: number for name, number in body.items() if name.endswith("count")} == {
        "totals_hosts_count": 4,
        "online_count": 2,
        "offline_count": 2,
        "mia_count": 1,
        "missing_30_days_count": 1,
        "new_count": 3,
        "all_linux_count": 3,
    }
    assert body["platforms"] == [
        {"platform": "ubuntu", "hosts_count": 2},
        {"platform": "darwin", "hosts_count": 1},
        {"platform": "rhel", "hosts_count": 1},
    ]
    [everybody] = [label for label in body["builtin_labels"] if label["id"] == ALL_HOSTS]
    assert (everybody["name"], everybody["label_type"]) == ("All Hosts", "builtin")
    assert "team_id" not in body


async def test_a_summary_can_be_of_a_team_and_a_platform(ask, fleet, admin, make_team):
    team = await make_team("Own")
    await fleet.host("a", team, platform="ubuntu")
    await fleet.host("b", team, platform="darwin")
    await fleet.host("c", platform="ubuntu")

    of_team = (await ask(admin, "GET /host_summary", team_id=str(team))).json()
    of_linux = (await ask(admin, "GET /host_summary", platform="linux", low_disk_space="32")).json()

    assert (of_team["team_id"], of_team["totals_hosts_count"]) == (team, 2)
    assert (of_linux["totals_hosts_count"], of_linux["low_disk_space_count"]) == (2, 0)
    assert (await ask(admin, "GET /host_summary", platform="amiga")).status_code == 400


async def test_a_team_members_summary_is_of_the_own_teams(ask, fleet, make_user, make_team):
    team = await make_team("Own")
    await fleet.host("a", team)
    await fleet.host("b")
    member = await make_user("observer", team)

    assert (await ask(member, "GET /host_summary")).json()["totals_hosts_count"] == 1
    assert (await ask(member, "GET /host_summary", team_id="0")).status_code == 403


async def test_what_hosts_say_of_themselves_is_shown_as_text_only(ask, fleet, admin):
    nasty = '<script>alert("1")</script>\u2028\u202e'
    host_id = await fleet.host("x", computer_name=nasty)

    answer = await ask(admin, f"GET /hosts/{host_id}")

    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json()["host"]["display_name"] == nasty
