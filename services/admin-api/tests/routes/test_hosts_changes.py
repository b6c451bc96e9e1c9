"""Hosts deleted and moved: who may, what inventory is asked, what is remembered."""

from __future__ import annotations

import asyncio

import pytest
from admin_api.domain import hosts as host_rules
from flotilla_common.contracts.hosts import ChangeLabelMembersV1, DeleteHostsV1, TransferHostsV1
from flotilla_common.errors import Conflict

from .conftest import responding

ROLES = ["admin", "maintainer", "observer_plus", "observer", "gitops"]
MAY_DELETE = {"admin", "maintainer"}


@pytest.fixture
async def teams(make_team) -> tuple[int, int]:
    return await make_team("Own"), await make_team("Foreign")


async def test_a_deleted_host_is_inventorys_task_and_remembered(ask, fleet, admin, inventory, news):
    host_id = await fleet.host("db-1", hardware_serial="SN-1")

    answer = await ask(admin, f"DELETE /hosts/{host_id}")

    assert (answer.status_code, answer.json()) == (200, {})
    assert inventory.asked == [DeleteHostsV1(host_ids=(host_id,))]
    details = {"host_id": host_id, "host_serial": "SN-1", "host_display_name": "db-1"}
    assert await news.activities() == [("deleted_host", details)]


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_delete_a_host(ask, fleet, inventory, make_user, teams, role):
    own, foreign, nobodys = await fleet.host("a", teams[0]), await fleet.host("b", teams[1]), await fleet.host("c")
    everywhere = await make_user(role, api_only=role == "gitops")
    somewhere = await make_user(role, teams[0], api_only=role == "gitops")
    allowed = 200 if role in MAY_DELETE else 403

    by_member = [(await ask(somewhere, f"DELETE /hosts/{host}")).status_code for host in (own, foreign, nobodys)]
    by_global = [(await ask(everywhere, f"DELETE /hosts/{host}")).status_code for host in (own, nobodys)]

    assert by_member == [allowed, 403, 403]
    assert by_global == [allowed, allowed]
    assert len(inventory.asked) == (3 if role in MAY_DELETE else 0)


async def test_unknown_hosts_are_told_only_to_those_who_may_delete_some(ask, admin, inventory, make_user, teams):
    observer = await make_user("observer", teams[0])

    assert (await ask(admin, "DELETE /hosts/99")).status_code == 404
    assert (await ask(observer, "DELETE /hosts/99")).status_code == 403


async def test_hosts_are_deleted_by_ids_and_unknown_ones_passed_over(ask, fleet, admin, inventory, news):
    first, second = await fleet.host("a"), await fleet.host("b")
    await fleet.host("c")

    answer = await ask(admin, "POST /hosts/delete", {"ids": [second, first, 99]})

    assert (answer.status_code, answer.json()) == (200, {})
    assert inventory.asked == [DeleteHostsV1(host_ids=(first, second))]
    assert [kind for kind, _ in await news.activities()] == ["deleted_host"] * 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "list of ids or filters must be specified"),
        ({"ids": []}, "list of ids or filters must be specified"),
        ({"ids": [1], "filters": {}}, "Cannot specify a list of ids and filters at the same time"),
        ({"filters": {"platform": "x"}}, "unknown filter key: platform"),
        ({"filters": {"label_id": None}}, "label_id must not be null"),
        ({"filters": {"label_id": "5"}}, "a filter has a value of a wrong type"),
        ({"filters": {"team_id": True}}, "a filter has a value of a wrong type"),
        ({"filters": {"query": "  "}}, "query must not be empty"),
        ({"filters": {"status": "asleep"}}, "Invalid status: asleep"),
        ({"filters": {"status": ""}}, "status must not be empty"),
        ({"filters": {"team_id": 99}}, "team 99 does not exist"),
        ({"ids": "all"}, "json decoder error"),
        ({"ids": [1.5]}, "json decoder error"),
        ({"ids": [-1]}, "json decoder error"),
    ],
)
async def test_no_malformed_order_deletes_anything(ask, fleet, admin, inventory, body, reason):
    await fleet.host("a")

    answer = await ask(admin, "POST /hosts/delete", body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["reason"] == reason
    assert inventory.asked == []


async def test_hosts_are_deleted_by_filters(ask, fleet, admin, inventory, teams):
    wanted = await fleet.host("web-1", teams[0])
    other = await fleet.host("web-2")
    label = await fleet.label("Racks", wanted, other)

    filters = {"query": "web", "label_id": label, "team_id": teams[0], "status": "online"}
    answer = await ask(admin, "POST /hosts/delete", {"filters": filters})

    assert answer.status_code == 200
    assert inventory.asked == [DeleteHostsV1(host_ids=(wanted,))]


async def test_empty_filters_mean_every_host_that_the_caller_sees(ask, fleet, inventory, make_user, teams):
    own = [await fleet.host("a", teams[0]), await fleet.host("b", teams[0])]
    await fleet.host("c", teams[1])
    await fleet.host("d")
    maintainer = await make_user("maintainer", teams[0])

    assert (await ask(maintainer, "POST /hosts/delete", {"filters": {}})).status_code == 200
    assert inventory.asked == [DeleteHostsV1(host_ids=tuple(own))]


async def test_one_foreign_id_stops_a_whole_deletion(ask, fleet, inventory, make_user, teams):
    own, foreign = await fleet.host("a", teams[0]), await fleet.host("b", teams[1])
    maintainer = await make_user("maintainer", teams[0])

    answer = await ask(maintainer, "POST /hosts/delete", {"ids": [own, foreign]})

    assert answer.status_code == 403
    assert inventory.asked == []


@pytest.mark.parametrize("body", [{"ids": [1]}, {"filters": {}}])
@pytest.mark.parametrize("role", ["observer", "observer_plus", "gitops"])
async def test_those_who_only_look_delete_nothing(ask, fleet, inventory, make_user, role, body):
    await fleet.host("a")
    member = await make_user(role, api_only=role == "gitops")

    assert (await ask(member, "POST /hosts/delete", body)).status_code == 403
    assert inventory.asked == []


async def test_many_hosts_are_deleted_in_portions(ask, fleet, admin, inventory, monkeypatch):
    monkeypatch.setattr(host_rules, "IDS_AT_ONCE", 2)
    ids = [await fleet.host(f"host-{number}") for number in range(5)]

    await ask(admin, "POST /hosts/delete", {"ids": ids})

    assert [request.host_ids for request in inventory.asked] == [tuple(ids[:2]), tuple(ids[2:4]), tuple(ids[4:])]


async def test_without_inventory_nothing_is_claimed(ask, fleet, admin, news):
    host_id = await fleet.host("a")

    answer = await ask(admin, f"DELETE /hosts/{host_id}")

    assert answer.status_code == 503
    assert await news.activities() == []


@pytest.mark.parametrize(
    ("what", "body", "kind"),
    [
        ("DELETE /hosts/1", None, "deleted_host"),
        ("POST /hosts/transfer", {"team_id": None, "hosts": [1]}, "transferred_hosts"),
    ],
)
async def test_what_inventory_may_have_done_is_remembered(
    ask, fleet, admin, bus_for, news, monkeypatch, what, body, kind
):
    monkeypatch.setattr(DeleteHostsV1, "timeout_seconds", 0.1)
    monkeypatch.setattr(TransferHostsV1, "timeout_seconds", 0.1)
    await fleet.host("a")

    async def think(_request, _deps):
        await asyncio.Event().wait()

    async with responding(await bus_for("inventory"), (DeleteHostsV1, think), (TransferHostsV1, think)):
        answer = await ask(admin, what, body)

    assert answer.status_code == 503
    assert [told for told, _ in await news.activities()] == [kind]


async def test_what_inventory_refuses_is_not_remembered(ask, fleet, admin, bus_for, news):
    host_id = await fleet.host("a")

    async def refuse(_request, _deps):
        raise Conflict("not now")

    async with responding(await bus_for("inventory"), (DeleteHostsV1, refuse)):
        answer = await ask(admin, f"DELETE /hosts/{host_id}")

    assert answer.status_code == 409
    assert await news.activities() == []


async def test_hosts_are_moved_and_it_is_remembered(ask, fleet, admin, inventory, news, teams):
    first, second = await fleet.host("a"), await fleet.host("b", teams[1])

    answer = await ask(admin, "POST /hosts/transfer", {"team_id": teams[0], "hosts": [second, first, 99]})

    assert (answer.status_code, answer.json()) == (200, {})
    assert inventory.asked == [TransferHostsV1(host_ids=(first, second), team_id=teams[0])]
    details = {
        "team_id": teams[0],
        "team_name": "Own",
        "host_ids": [first, second],
        "host_display_names": ["a", "b"],
    }
    assert await news.activities() == [("transferred_hosts", details)]


async def test_hosts_can_be_moved_out_of_all_teams(ask, fleet, admin, inventory, news, teams):
    host_id = await fleet.host("a", teams[0])

    await ask(admin, "POST /hosts/transfer", {"team_id": None, "hosts": [host_id]})

    assert inventory.asked == [TransferHostsV1(host_ids=(host_id,), team_id=None)]
    [(_, details)] = await news.activities()
    assert (details["team_id"], details["team_name"]) == (None, None)


async def test_moving_to_an_unknown_team_is_not_found(ask, fleet, admin, inventory):
    await fleet.host("a")

    assert (await ask(admin, "POST /hosts/transfer", {"team_id": 99, "hosts": [1]})).status_code == 404
    assert (await ask(admin, "POST /hosts/transfer/filter", {"team_id": 99, "filters": {}})).status_code == 404
    assert inventory.asked == []


async def test_moving_by_filter_needs_filters(ask, admin, inventory):
    answer = await ask(admin, "POST /hosts/transfer/filter", {"team_id": None})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["reason"] == "filters must be specified"


async def test_hosts_are_moved_by_filters(ask, fleet, admin, inventory, teams):
    wanted = await fleet.host("web-1")
    await fleet.host("db-1")

    answer = await ask(admin, "POST /hosts/transfer/filter", {"team_id": teams[0], "filters": {"query": "WEB"}})

    assert answer.status_code == 200
    assert inventory.asked == [TransferHostsV1(host_ids=(wanted,), team_id=teams[0])]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("admin", 200), ("maintainer", 200), ("gitops", 200), ("observer", 403), ("observer_plus", 403)],
)
async def test_which_global_roles_move_hosts(ask, fleet, inventory, make_user, teams, role, allowed):
    host_id = await fleet.host("a")
    member = await make_user(role, api_only=role == "gitops")

    by_id = await ask(member, "POST /hosts/transfer", {"team_id": teams[0], "hosts": [host_id]})
    by_filter = await ask(member, "POST /hosts/transfer/filter", {"team_id": teams[0], "filters": {}})

    assert (by_id.status_code, by_filter.status_code) == (allowed, allowed)


@pytest.mark.parametrize("role", ROLES)
async def test_members_move_hosts_only_between_teams_that_they_run(ask, fleet, inventory, make_user, teams, role):
    own, foreign, nobodys = await fleet.host("a", teams[0]), await fleet.host("b", teams[1]), await fleet.host("c")
    member = await make_user(role, teams[0], api_only=role == "gitops")
    allowed = 200 if role in MAY_DELETE else 403

    async def move(host: int, team: int | None) -> int:
        return (await ask(member, "POST /hosts/transfer", {"team_id": team, "hosts": [host]})).status_code

    assert await move(own, teams[0]) == allowed
    assert [await move(own, teams[1]), await move(own, None)] == [403, 403]
    assert [await move(foreign, teams[0]), await move(nobodys, teams[0])] == [403, 403]
    assert len(inventory.asked) == (1 if allowed == 200 else 0)


async def test_a_maintainers_filter_finds_only_what_the_maintainer_may_move(ask, fleet, inventory, make_user, teams):
    own = await fleet.host("a", teams[0])
    await fleet.host("b", teams[1])
    await fleet.host("c")
    maintainer = await make_user("maintainer", teams[0])

    mine = await ask(maintainer, "POST /hosts/transfer/filter", {"team_id": teams[0], "filters": {}})
    theirs = await ask(
        maintainer, "POST /hosts/transfer/filter", {"team_id": teams[0], "filters": {"team_id": teams[1]}}
    )

    assert (mine.status_code, theirs.status_code) == (200, 403)
    assert inventory.asked == [TransferHostsV1(host_ids=(own,), team_id=teams[0])]


async def test_moving_nothing_asks_nobody(ask, admin, inventory, news, teams):
    assert (await ask(admin, "POST /hosts/transfer", {"team_id": teams[0], "hosts": []})).status_code == 200
    assert inventory.asked == []
    assert await news.activities() == []


async def test_a_host_is_put_into_manual_labels_and_taken_out(ask, fleet, admin, inventory):
    host_id = await fleet.host("a")
    label = await fleet.label("Racks")

    put = await ask(admin, f"POST /hosts/{host_id}/labels", {"labels": ["racks"]})
    taken = await ask(admin, f"DELETE /hosts/{host_id}/labels", {"labels": ["Racks"]})

    assert (put.json(), taken.json()) == ({}, {})
    assert inventory.asked == [
        ChangeLabelMembersV1(label_id=label, add=(host_id,)),
        ChangeLabelMembersV1(label_id=label, remove=(host_id,)),
    ]


@pytest.mark.parametrize("name", ["Computed", "All Hosts", "Nothing"])
async def test_only_manual_labels_can_be_put_on_a_host(ask, fleet, admin, inventory, name):
    host_id = await fleet.host("a")
    await fleet.label("Computed", manual=False)

    assert (await ask(admin, f"POST /hosts/{host_id}/labels", {"labels": [name]})).status_code == 400
    assert inventory.asked == []


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_label_a_host(ask, fleet, inventory, make_user, teams, role):
    own, foreign = await fleet.host("a", teams[0]), await fleet.host("b", teams[1])
    await fleet.label("Racks")
    member = await make_user(role, teams[0], api_only=role == "gitops")
    allowed = 200 if role in {"admin", "maintainer", "gitops"} else 403

    statuses = [
        (await ask(member, f"POST /hosts/{host}/labels", {"labels": ["Racks"]})).status_code for host in (own, foreign)
    ]

    assert statuses == [allowed, 403]
