"""Labels: made, changed, removed; members of manual ones are asked of inventory."""

from __future__ import annotations

import pytest
from flotilla_common.contracts.hosts import ChangeLabelMembersV1
from flotilla_common.contracts.labels import BUILTIN_LABELS
from flotilla_common.db.models.admin_api import Label

BUILT_IN = {label.name for label in BUILTIN_LABELS}


async def own(database):
    return [label for label in await database.rows(Label) if label.name not in BUILT_IN]


async def make(ask, member, **body):
    answer = await ask(member, "POST /labels", {"name": "Big disks", "query": "SELECT 1", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["label"]


async def test_a_label_with_a_query_is_dynamic(ask, admin, news):
    label = await make(ask, admin, description="over 1 TB", platform="linux")

    assert (label["name"], label["description"], label["platform"]) == ("Big disks", "over 1 TB", "linux")
    assert (label["label_type"], label["label_membership_type"]) == ("regular", "dynamic")
    assert (label["author_id"], label["count"], label["display_text"]) == (1, 0, "Big disks")
    assert label["host_ids"] is None
    assert await news.events() == [("label_changed", {"label_id": label["id"], "deleted": False})]
    assert (await ask(admin, f"GET /labels/{label['id']}")).json()["label"] == label


async def test_a_label_with_hosts_is_manual_and_inventory_is_asked_for_its_members(ask, admin, fleet, inventory):
    first, second = await fleet.host("a"), await fleet.host("b", hardware_serial="SN-2")

    named = await make(ask, admin, name="Named", query="", hosts=["a", "SN-2", "nobody"])
    numbered = await make(ask, admin, name="Numbered", query="", host_ids=[second])

    assert [named["label_membership_type"], numbered["label_membership_type"]] == ["manual", "manual"]
    assert named["host_ids"] == []
    assert inventory.asked == [
        ChangeLabelMembersV1(label_id=named["id"], replace=(first, second)),
        ChangeLabelMembersV1(label_id=numbered["id"], replace=(second,)),
    ]


async def test_a_manual_label_is_not_made_while_inventory_is_away(ask, admin, fleet, database):
    host_id = await fleet.host("a")

    answer = await ask(admin, "POST /labels", {"name": "Manual", "host_ids": [host_id]})

    assert (answer.status_code, answer.json()["message"]) == (503, "Service Unavailable")
    assert await own(database) == []


@pytest.mark.parametrize(
    ("body", "status", "name", "reason"),
    [
        ({}, 422, "name", "missing required argument"),
        ({"name": " "}, 422, "name", "missing required argument"),
        ({"name": "x" * 256}, 422, "name", "may not be longer than 255 characters"),
        (
            {"name": "all HOSTS"},
            422,
            "name",
            "cannot add label 'All Hosts' because it conflicts with the name of a built-in label",
        ),
        ({"name": "BIG disks"}, 409, "base", 'Label "BIG disks" already exists'),
        ({"name": "N", "query": "SELECT 1", "hosts": []}, 422, "query", None),
        ({"name": "N", "hosts": ["a"], "host_ids": [1]}, 422, "hosts", None),
        ({"name": "N", "host_ids": [99]}, 404, "base", "Host 99 was not found in the datastore"),
        ({"name": 1}, 400, "base", "json decoder error"),
        ({"name": "N", "host_ids": ["1"]}, 400, "base", "json decoder error"),
    ],
)
async def test_a_label_that_makes_no_sense_is_refused(ask, admin, database, body, status, name, reason):
    await make(ask, admin)

    answer = await ask(admin, "POST /labels", body)

    error = answer.json()["errors"][0]
    assert (answer.status_code, error["name"]) == (status, name)
    assert reason is None or error["reason"] == reason
    assert len(await own(database)) == 1


async def test_counts_and_members_are_those_that_the_viewer_may_see(ask, admin, fleet, make_team, make_user):
    team_id = await make_team("Servers")
    mine, other = await fleet.host("a", team_id), await fleet.host("b")
    label_id = await fleet.label("Manual", mine, other)
    observer = await make_user("observer", team_id)

    everything = (await ask(admin, f"GET /labels/{label_id}")).json()["label"]
    part = (await ask(observer, f"GET /labels/{label_id}")).json()["label"]
    listed = (await ask(observer, "GET /labels")).json()["labels"]

    assert (everything["count"], everything["host_ids"]) == (2, [mine, other])
    assert (part["count"], part["host_ids"]) == (1, [mine])
    assert next(label["count"] for label in listed if label["id"] == label_id) == 1


async def test_a_list_has_the_built_in_labels_and_knows_no_search(ask, admin):
    labels = (await ask(admin, "GET /labels", order_key="name", per_page="100")).json()["labels"]
    summary = (await ask(admin, "GET /labels/summary")).json()["labels"]

    assert {label["name"] for label in labels} == BUILT_IN
    assert set(summary[0]) == {"id", "name", "description", "label_type"}
    for parameters in ({"query": "x"}, {"order_key": "id", "after": "1"}):
        assert (await ask(admin, "GET /labels", **parameters)).status_code == 400


async def test_a_label_gets_other_words_and_other_members(ask, admin, fleet, inventory, news):
    host_id = await fleet.host("a")
    label_id = await fleet.label("Manual")

    answer = await ask(admin, f"PATCH /labels/{label_id}", {"name": "New", "description": "d", "host_ids": [host_id]})

    label = answer.json()["label"]
    assert (label["name"], label["description"], label["label_membership_type"]) == ("New", "d", "manual")
    assert inventory.asked == [ChangeLabelMembersV1(label_id=label_id, replace=(host_id,))]
    assert await news.events() == [("label_changed", {"label_id": label_id, "deleted": False})]


async def test_a_team_user_moves_only_hosts_of_the_own_team(ask, fleet, inventory, make_team, make_user):
    team_id = await make_team("Servers")
    mine, new, other = await fleet.host("a", team_id), await fleet.host("b", team_id), await fleet.host("c")
    label_id = await fleet.label("Manual", mine, other)
    member = await make_user("maintainer", team_id)

    good = await ask(member, f"PATCH /labels/{label_id}", {"host_ids": [new]})
    bad = await ask(member, f"PATCH /labels/{label_id}", {"host_ids": [other]})

    assert (good.status_code, bad.status_code) == (200, 403)
    assert inventory.asked == [ChangeLabelMembersV1(label_id=label_id, add=(new,), remove=(mine,))]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"name": " "}, 422, "missing required argument"),
        ({"name": "Other"}, 409, 'Label "Other" already exists'),
        ({"hosts": ["a"]}, 422, "cannot provide a list of hosts for a dynamic label"),
        ({"name": 5}, 400, "json decoder error"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(ask, admin, inventory, body, status, reason):
    label = await make(ask, admin)
    await make(ask, admin, name="Other")

    answer = await ask(admin, f"PATCH /labels/{label['id']}", body)

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (status, reason)
    assert (await ask(admin, f"GET /labels/{label['id']}")).json()["label"] == label
    assert inventory.asked == []


async def test_query_and_platform_stay_whatever_a_change_says(ask, admin):
    label = await make(ask, admin)

    answer = await ask(admin, f"PATCH /labels/{label['id']}", {"query": "SELECT 2", "platform": "windows"})

    assert (answer.json()["label"]["query"], answer.json()["label"]["platform"]) == ("SELECT 1", "")


@pytest.mark.parametrize("what", ["PATCH /labels/{}", "DELETE /labels/id/{}", "DELETE /labels/All%20Hosts"])
async def test_built_in_labels_stay_as_they_are(ask, admin, database, what):
    built_in = next(label for label in await database.rows(Label) if label.name == "All Hosts")

    answer = await ask(admin, what.format(built_in.id), {"name": "Mine"} if "PATCH" in what else None)

    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, "label_type")
    assert built_in in await database.rows(Label)


@pytest.mark.parametrize("path", ["/labels/id/{id}", "/labels/Big%20disks", "/labels/BIG%20disks"])
async def test_a_label_is_removed_by_id_or_name(ask, admin, database, news, path):
    label = await make(ask, admin)
    await news.events()

    answer = await ask(admin, f"DELETE {path.format(**label)}")

    assert answer.json() == {}
    assert await own(database) == []
    assert await news.events() == [("label_changed", {"label_id": label["id"], "deleted": True})]


async def test_a_name_with_a_slash_can_be_removed(ask, admin, database):
    await make(ask, admin, name="a/b")

    assert (await ask(admin, "DELETE /labels/a%2Fb")).status_code == 200
    assert await own(database) == []


async def test_a_label_that_scopes_a_query_stays(ask, admin, database):
    await make(ask, admin)
    await ask(admin, "POST /queries", {"name": "q", "query": "SELECT 1", "labels_include_any": ["Big disks"]})

    answer = await ask(admin, "DELETE /labels/Big%20disks")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["reason"] == "foreign key constraint on labels: Big disks"
    assert len(await own(database)) == 1


@pytest.mark.parametrize(
    "what", ["GET /labels/99", "PATCH /labels/99", "DELETE /labels/id/99", "DELETE /labels/no", "GET /spec/labels/no"]
)
async def test_an_unknown_label_is_missing(ask, admin, what):
    assert (await ask(admin, what, {} if "PATCH" in what else None)).status_code == 404


async def test_what_the_spec_prints_is_accepted_back_and_changes_nothing(ask, admin, fleet, inventory):
    await make(ask, admin)
    host_id = await fleet.host("a")
    manual = await fleet.label("Manual", host_id)
    before = (await ask(admin, "GET /spec/labels")).json()

    answer = await ask(admin, "POST /spec/labels", before)

    assert answer.status_code == 200, answer.text
    assert (await ask(admin, "GET /spec/labels")).json() == before
    assert {spec["name"] for spec in before["specs"]} == {*BUILT_IN, "Big disks", "Manual"}
    assert inventory.asked == [ChangeLabelMembersV1(label_id=manual, replace=(host_id,))]


@pytest.mark.parametrize(("role", "of_a_team"), [("gitops", False), ("maintainer", True)])
async def test_applying_the_printed_spec_empties_no_label_whoever_does_it(
    ask, make_team, make_user, fleet, inventory, role, of_a_team
):
    team_id = await make_team("Servers")
    manual = await fleet.label("Manual", await fleet.host("a", team_id), await fleet.host("b"))
    member = await make_user(role, team_id if of_a_team else None, api_only=role == "gitops")

    answer = await ask(member, "POST /spec/labels", (await ask(member, "GET /spec/labels")).json())

    kept = {"add": (), "remove": ()} if of_a_team else {"replace": (1, 2)}
    assert answer.status_code == 200, answer.text
    assert inventory.asked == [ChangeLabelMembersV1(label_id=manual, **kept)]


async def test_a_spec_lists_no_hosts_that_one_may_neither_read_nor_label(ask, make_team, make_user, fleet):
    own, foreign = await make_team("Own"), await make_team("Foreign")
    await fleet.label("Manual", await fleet.host("a", own), await fleet.host("b", foreign), await fleet.host("c"))

    listed = [
        (await ask(member, "GET /spec/labels/Manual")).json()["specs"]["hosts"]
        for member in (await make_user("gitops", own, api_only=True), await make_user("observer", own))
    ]

    assert listed == [["a"], ["a"]]


async def test_one_spec_stands_under_the_plural_key(ask, admin):
    await make(ask, admin)

    spec = (await ask(admin, "GET /spec/labels/Big%20disks")).json()["specs"]

    assert (spec["name"], spec["query"], spec["label_membership_type"]) == ("Big disks", "SELECT 1", "dynamic")
    assert "hosts" not in spec


async def test_specs_make_and_change_labels(ask, admin, fleet, inventory, news):
    await fleet.host("a")
    first = {"name": "Dynamic", "query": "SELECT 1", "label_membership_type": "dynamic"}
    manual = {"name": "Manual", "label_membership_type": "manual", "hosts": ["a"]}
    await ask(admin, "POST /spec/labels", {"specs": [first, manual]})
    await news.events()

    answer = await ask(admin, "POST /spec/labels", {"specs": [{**first, "query": "SELECT 2", "platform": "darwin"}]})

    spec = (await ask(admin, "GET /spec/labels/Dynamic")).json()["specs"]
    assert answer.json() == {}
    assert (spec["query"], spec["platform"]) == ("SELECT 2", "darwin")
    assert len(inventory.asked) == 1
    assert ("label_changed", {"label_id": spec["id"], "deleted": False}) in await news.events()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"name": ""}, "missing required argument"),
        ({"name": "D", "query": "SELECT 1", "hosts": []}, "label D is declared as dynamic but contains `hosts` key"),
        (
            {"name": "M", "label_membership_type": "manual"},
            "label M is declared as manual but contains no `hosts key`",
        ),
        ({"name": "D"}, "label D is declared as dynamic but has no query"),
        ({"name": "D", "label_membership_type": "magic"}, "unknown label_membership_type: magic"),
        ({"name": "All Hosts", "query": "SELECT 2"}, "cannot modify built-in label 'All Hosts'"),
        ({"name": "New", "label_type": "builtin"}, "cannot modify or add built-in label 'New'"),
        (
            {"name": "Big disks", "label_membership_type": "manual", "hosts": []},
            "the membership type of label Big disks cannot be changed",
        ),
    ],
)
async def test_one_bad_spec_and_none_is_applied(ask, admin, database, inventory, news, spec, reason):
    await make(ask, admin)
    await news.events()
    good = {"name": "Good", "query": "SELECT 1"}

    answer = await ask(admin, "POST /spec/labels", {"specs": [good, spec]})

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (422, reason)
    assert [label.name for label in await own(database)] == ["Big disks"]
    assert await news.events() == []
    assert inventory.asked == []


async def test_a_dry_run_of_specs_does_nothing(ask, admin, database, inventory, news):
    specs = [{"name": "Good", "query": "SELECT 1"}, {"name": "M", "label_membership_type": "manual", "hosts": []}]

    answer = await ask(admin, "POST /spec/labels", {"specs": specs}, dry_run="true")
    bad = await ask(admin, "POST /spec/labels", {"specs": [{"name": ""}]}, dry_run="true")

    assert (answer.status_code, bad.status_code) == (200, 422)
    assert await own(database) == []
    assert (await news.events(), inventory.asked) == ([], [])


@pytest.mark.parametrize("body", [{"specs": {}}, {"specs": [1]}, {"specs": [{"name": 1}]}])
async def test_malformed_specs_are_a_400(ask, admin, body):
    assert (await ask(admin, "POST /spec/labels", body)).status_code == 400


@pytest.mark.parametrize(
    ("role", "of_a_team", "status"),
    [
        ("maintainer", False, 200),
        ("observer", False, 403),
        ("observer_plus", False, 403),
        ("gitops", False, 200),
        ("admin", True, 200),
        ("maintainer", True, 200),
        ("observer", True, 403),
        ("gitops", True, 403),
    ],
)
async def test_who_may_write_labels(ask, make_team, make_user, role, of_a_team, status):
    member = await make_user(role, await make_team("Servers") if of_a_team else None, api_only=role == "gitops")

    statuses = [
        (await ask(member, "POST /labels", {"name": "L", "query": "SELECT 1"})).status_code,
        (await ask(member, "POST /spec/labels", {"specs": [{"name": "L", "query": "SELECT 2"}]})).status_code,
        (await ask(member, "DELETE /labels/L")).status_code,
    ]

    assert statuses == [status] * 3
