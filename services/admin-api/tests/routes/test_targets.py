"""Targets: what can be aimed at, and how many hosts a selection is."""

from __future__ import annotations

import pytest
from flotilla_common.contracts.labels import ALL_HOSTS

from .conftest import LONG_AGO

UBUNTU = 3


@pytest.fixture
def counted(ask):
    """Return how many hosts a selection is for a member."""

    async def count(member, query_id: int | None = None, **selected: list[int]) -> int:
        answer = await ask(member, "POST /targets/count", {"query_id": query_id, "selected": selected})
        assert answer.status_code == 200, answer.text
        return answer.json()["targets_count"]

    return count


async def test_a_search_offers_hosts_labels_and_teams(ask, fleet, admin, make_user, make_team):
    team = await make_team("Racks of web")
    await make_user("observer", team)
    host_id = await fleet.host("web-1", team)
    await fleet.host("db-1")
    label = await fleet.label("Websites", host_id)

    body = (await ask(admin, "POST /targets", {"query": "WEB"})).json()

    assert [host["display_text"] for host in body["targets"]["hosts"]] == ["web-1"]
    assert body["targets"]["labels"] == [{
        "id": label, "name": "Websites", "description": "", "label_type": "regular",
        "host_count": 1, "display_text": "Websites", "count": 1,
    }]  # fmt: skip
    assert body["targets"]["teams"] == [{
        "id": team, "name": "Racks of web", "description": "", "user_count": 1, "host_count": 1,
        "display_text": "Racks of web", "count": 1,
    }]  # fmt: skip
    assert (body["targets_count"], body["targets_online"], body["targets_missing_in_action"]) == (0, 0, 0)


async def test_nothing_found_is_empty_lists(ask, admin):
    body = (await ask(admin, "POST /targets", {"query": "nowhere", "selected": None})).json()

    assert body["targets"] == {"hosts": [], "labels": [], "teams": []}


async def test_all_hosts_comes_first_and_ten_are_enough(ask, fleet, admin):
    for number in range(12):
        await fleet.host(f"host-{number}")

    targets = (await ask(admin, "POST /targets", {"query": ""})).json()["targets"]

    assert (targets["labels"][0]["name"], targets["labels"][0]["count"]) == ("All Hosts", 12)
    assert (len(targets["labels"]), len(targets["hosts"])) == (10, 10)


async def test_what_is_selected_is_counted_and_not_offered_again(ask, fleet, admin, make_team):
    team = await make_team("Own")
    chosen, other = await fleet.host("a", seen=LONG_AGO), await fleet.host("b")

    selected = {"hosts": [chosen], "labels": [ALL_HOSTS], "teams": [team]}
    body = (await ask(admin, "POST /targets", {"query": "", "selected": selected})).json()

    assert [host["id"] for host in body["targets"]["hosts"]] == [other]
    assert ALL_HOSTS not in {label["id"] for label in body["targets"]["labels"]}
    assert body["targets"]["teams"] == []
    assert (body["targets_count"], body["targets_online"], body["targets_offline"]) == (2, 1, 1)


async def test_a_selection_is_listed_hosts_or_a_label_of_each_kind_and_a_team(fleet, admin, counted, make_team):
    first, second = await make_team("First"), await make_team("Second")
    both = await fleet.host("both", first)
    ubuntu = await fleet.host("ubuntu", second)
    racked = await fleet.host("racked", first)
    plain = await fleet.host("plain")
    await fleet.put_into(UBUNTU, both, ubuntu)
    label = await fleet.label("Racks", both, racked)
    empty = await fleet.label("Empty")

    assert await counted(admin) == 0
    assert await counted(admin, hosts=[plain, plain, 99]) == 1
    assert await counted(admin, labels=[UBUNTU]) == 2
    assert await counted(admin, labels=[label, empty]) == 2
    assert await counted(admin, labels=[UBUNTU, label]) == 1
    assert await counted(admin, labels=[UBUNTU, empty]) == 0
    assert await counted(admin, labels=[UBUNTU], teams=[second]) == 1
    assert await counted(admin, teams=[first, second]) == 3
    assert await counted(admin, teams=[0]) == 1
    assert await counted(admin, labels=[UBUNTU, label], hosts=[plain]) == 2
    assert await counted(admin, labels=[ALL_HOSTS, empty], teams=[first]) == 4
    assert await counted(admin, labels=[999]) == 0


async def test_a_count_has_no_missing_counter(ask, fleet, admin):
    await fleet.host("a")

    body = (await ask(admin, "POST /targets/count", {"selected": {"labels": [ALL_HOSTS]}})).json()

    assert body == {"targets_count": 1, "targets_online": 1, "targets_offline": 0}


@pytest.mark.parametrize(("role", "new_sql"), [("admin", 1), ("maintainer", 1), ("observer_plus", 1), ("observer", 0)])
async def test_members_aim_at_their_teams_and_observers_only_with_a_query_for_them(
    fleet, counted, make_user, make_team, role, new_sql
):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    hosts = [await fleet.host("a", own), await fleet.host("b", foreign), await fleet.host("c")]
    member = await make_user(role, own)
    shared, closed = await fleet.query("shared", observer_can_run=True), await fleet.query("closed")

    assert await counted(member, hosts=hosts) == new_sql
    assert await counted(member, labels=[ALL_HOSTS]) == new_sql
    assert await counted(member, teams=[own, foreign, 0]) == new_sql
    assert await counted(member, closed, hosts=hosts) == new_sql
    assert await counted(member, shared, hosts=hosts) == 1


async def test_teams_and_label_counts_of_others_are_not_shown(ask, fleet, make_user, make_team):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    await fleet.host("a", own)
    await fleet.host("b", foreign)
    member = await make_user("maintainer", own)

    targets = (await ask(member, "POST /targets", {"query": ""})).json()["targets"]

    assert [host["hostname"] for host in targets["hosts"]] == ["a"]
    assert [team["name"] for team in targets["teams"]] == ["Own"]
    assert targets["labels"][0]["count"] == 1


async def test_queries_that_cannot_be_seen_cannot_be_aimed(ask, fleet, admin, make_user, make_team):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    query = await fleet.query("theirs", foreign)
    member = await make_user("maintainer", own)

    assert (await ask(member, "POST /targets/count", {"query_id": query, "selected": {}})).status_code == 403
    assert (await ask(admin, "POST /targets", {"query_id": 99})).status_code == 404


@pytest.mark.parametrize("scope", ["global", "team"])
async def test_gitops_aims_at_nothing(ask, make_user, make_team, scope):
    member = await make_user("gitops", await make_team("Own") if scope == "team" else None, api_only=True)

    assert (await ask(member, "POST /targets", {"query": ""})).status_code == 403
    assert (await ask(member, "POST /targets/count", {"selected": {}})).status_code == 403


@pytest.mark.parametrize("selected", [{"hosts": ["a"]}, {"hosts": 5}, {"labels": [1.5]}, {"teams": [-1]}, [1]])
async def test_malformed_selections_are_refused(ask, admin, selected):
    answer = await ask(admin, "POST /targets/count", {"selected": selected})

    assert (answer.status_code, answer.json()["message"]) == (400, "json decoder error")
