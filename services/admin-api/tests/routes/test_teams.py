"""Teams: made, listed, changed, removed; every change is told of."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flotilla_common.db.models.admin_api import EnrollSecret, Query, QueryLabel, Team, UserTeam
from flotilla_common.db.models.inventory import Host


async def make(ask, member, **body):
    answer = await ask(member, "POST /teams", {"name": "Servers", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["team"]


async def test_a_new_team_has_a_copy_of_the_global_options_and_a_random_secret(ask, admin, news):
    config = (await ask(admin, "GET /config")).json()

    team = await make(ask, admin, description="racks")

    assert (team["name"], team["description"]) == ("Servers", "racks")
    assert team["agent_options"] == config["agent_options"]
    assert team["features"] == config["features"]
    assert (team["merge_mode"], team["user_count"], team["host_count"]) == ("replace", 0, 0)
    assert [len(secret["secret"]) for secret in team["secrets"]] == [32]
    assert team["secrets"][0]["team_id"] == team["id"]
    assert ("team_changed", {"team_id": team["id"], "deleted": False}) in await news.events()
    assert await news.activities() == [("created_team", {"team_id": team["id"], "team_name": "Servers"})]


async def test_a_new_team_that_merges_states_nothing(ask, admin):
    team = await make(ask, admin, merge_mode="merge")

    assert (team["merge_mode"], team["agent_options"]) == ("merge", {})


async def test_a_team_made_while_the_global_options_are_cleared_has_none(ask, admin, database):
    await ask(admin, "PATCH /config", {"agent_options": None})

    team = await make(ask, admin)

    [row] = await database.rows(Team)
    assert team["agent_options"] is None
    assert row.agent_options is None


async def test_a_new_team_takes_the_secrets_that_are_given(ask, admin):
    team = await make(ask, admin, secrets=[{"secret": "one"}, {"secret": "two"}])

    assert [secret["secret"] for secret in team["secrets"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({}, 422, "missing required argument"),
        ({"name": None}, 422, "missing required argument"),
        ({"name": "  "}, 422, "may not be empty"),
        ({"name": "ALL TEAMS"}, 422, '"All teams" is a reserved team name'),
        ({"name": "no team"}, 422, '"No team" is a reserved team name'),
        ({"name": "x" * 256}, 422, "may not be longer than 255 characters"),
        ({"name": "servers"}, 409, 'Team "servers" already exists'),
        ({"name": "New", "secrets": [{"secret": "s"}] * 51}, 422, "too many secrets"),
        ({"name": "New", "secrets": [{"secret": " "}]}, 422, "enroll secret must not be empty"),
        ({"name": "New", "secrets": [{"secret": "x" * 256}]}, 422, "enroll secret is longer than 255 characters"),
        ({"name": "New", "secrets": [{"secret": "taken"}]}, 409, 'EnrollSecret "********" already exists'),
        ({"name": 7}, 400, "json decoder error"),
        ({"name": "New", "merge_mode": "mix"}, 400, "json decoder error"),
        ({"name": "New", "secrets": "abc"}, 400, "json decoder error"),
        ({"name": "a\x00b"}, 422, "a value cannot be stored"),
    ],
)
async def test_a_team_that_makes_no_sense_is_refused(ask, admin, database, body, status, reason):
    await make(ask, admin, secrets=[{"secret": "taken"}])

    answer = await ask(admin, "POST /teams", body)

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (status, reason)
    assert len(await database.rows(Team)) == 1


async def test_names_are_compared_in_one_unicode_form(ask, admin):
    await make(ask, admin, name="Cafe\u0301")

    assert (await ask(admin, "POST /teams", {"name": "CAF\u00c9"})).status_code == 409


async def test_a_team_user_lists_the_own_teams_and_a_global_one_all(ask, admin, make_user):
    own, other = await make(ask, admin), await make(ask, admin, name="Laptops")
    observer = await make_user("observer", own["id"])
    maintainer = await make_user("maintainer")

    seen = (await ask(observer, "GET /teams")).json()["teams"]
    all_of_them = (await ask(maintainer, "GET /teams", order_key="name", order_direction="asc")).json()["teams"]

    assert [team["id"] for team in seen] == [own["id"]]
    assert [team["id"] for team in all_of_them] == [other["id"], own["id"]]


async def test_a_list_is_searched_by_name_and_paged(ask, admin):
    for name in ("Alpha", "Beta", "Alphabet"):
        await make(ask, admin, name=name)

    found = (await ask(admin, "GET /teams", query="ALPHA", per_page="1", page="1")).json()["teams"]

    assert [team["name"] for team in found] == ["Alphabet"]


async def test_a_list_in_an_unknown_order_is_refused(ask, admin):
    answer = await ask(admin, "GET /teams", order_key="secret")

    assert answer.status_code == 422
    assert answer.json()["message"] == "Validation Failed"


async def test_numbers_of_members_and_hosts_are_shown(ask, admin, make_user, database):
    team = await make(ask, admin)
    await make_user("observer", team["id"])
    await database.add(
        Host(
            revision=1,
            last_enrolled_at=datetime.now(UTC),
            host_identifier="A-1",
            node_key_hash=b"1" * 32,
            team_id=team["id"],
            platform="ubuntu",
        )
    )

    shown = (await ask(admin, f"GET /teams/{team['id']}")).json()["team"]

    assert (shown["user_count"], shown["host_count"]) == (1, 1)


@pytest.mark.parametrize(
    ("role", "of_the_team", "secret"),
    [
        ("admin", False, "plain"),
        ("maintainer", False, "plain"),
        ("observer", False, "********"),
        ("observer_plus", False, "********"),
        ("admin", True, "plain"),
        ("maintainer", True, "plain"),
        ("observer", True, "********"),
        ("observer_plus", True, "********"),
    ],
)
async def test_observers_see_no_secret_of_a_team(ask, admin, make_user, role, of_the_team, secret):
    team_id = (await make(ask, admin, secrets=[{"secret": "plain"}]))["id"]
    member = await make_user(role, team_id if of_the_team else None)

    team = (await ask(member, f"GET /teams/{team_id}")).json()["team"]
    listed = (await ask(member, "GET /teams")).json()["teams"]
    alone = (await ask(member, f"GET /teams/{team_id}/secrets")).json()["secrets"]

    assert [found["secret"] for found in [*team["secrets"], *listed[0]["secrets"], *alone]] == [secret] * 3


async def test_a_gitops_user_changes_a_team_and_is_shown_no_secret(ask, admin, make_user):
    team_id = (await make(ask, admin))["id"]
    robot = await make_user("gitops", api_only=True)

    answer = await ask(robot, f"PATCH /teams/{team_id}", {"description": "by a robot"})

    assert answer.json()["team"]["description"] == "by a robot"
    assert [found["secret"] for found in answer.json()["team"]["secrets"]] == ["********"]


async def test_a_given_block_replaces_the_block_and_the_others_stay(ask, admin, news):
    team_id = (await make(ask, admin, description="racks"))["id"]
    await ask(admin, f"PATCH /teams/{team_id}", {"integrations": {"jira": [{"url": "https://j", "project_key": "A"}]}})
    hook = {"enable_host_status_webhook": True, "destination_url": "https://h", "host_percentage": 5, "days_count": 1}
    await news.events()

    answer = await ask(
        admin,
        f"PATCH /teams/{team_id}",
        {
            "name": "Racks",
            "HOST_EXPIRY_SETTINGS": {"host_expiry_enabled": True, "host_expiry_window": 30},
            "webhook_settings": {"host_status_webhook": hook, "not_known_here": 1},
            "mdm": {"enable_disk_encryption": False, "macos_updates": {"deadline": ""}},
        },
    )

    team = answer.json()["team"]
    assert (team["name"], team["description"]) == ("Racks", "racks")
    assert team["host_expiry_settings"] == {"host_expiry_enabled": True, "host_expiry_window": 30}
    assert team["webhook_settings"]["host_status_webhook"] == hook
    assert team["integrations"]["jira"][0]["project_key"] == "A"
    assert await news.events() == [("team_changed", {"team_id": team_id, "deleted": False})]


async def test_another_merge_mode_has_the_teams_plans_compiled_again(ask, admin, news):
    team = await make(ask, admin)
    await news.events()

    answer = await ask(admin, f"PATCH /teams/{team['id']}", {"merge_mode": "merge"})

    shown = answer.json()["team"]
    assert (shown["merge_mode"], shown["agent_options"]) == ("merge", team["agent_options"])
    assert ("agent_options_changed", {"team_id": team["id"]}) in await news.events()


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        ({"name": ""}, 422, "name"),
        ({"name": "LAPTOPS"}, 409, "base"),
        ({"host_expiry_settings": {"host_expiry_enabled": True, "host_expiry_window": 0}}, 422, "host_expiry_window"),
        ({"host_expiry_settings": {"host_expiry_window": "many"}}, 400, "base"),
        ({"webhook_settings": {"host_status_webhook": {"enable_host_status_webhook": True}}}, 422, "destination_url"),
        ({"integrations": {"jira": "no"}}, 400, "base"),
        ({"mdm": {"enable_disk_encryption": True}}, 422, "mdm.enable_disk_encryption"),
        ({"merge_mode": ""}, 400, "base"),
        ([], 400, "base"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(ask, admin, news, body, status, name):
    team_id = (await make(ask, admin))["id"]
    await make(ask, admin, name="Laptops")
    before = (await ask(admin, f"GET /teams/{team_id}")).json()
    await news.events()

    answer = await ask(admin, f"PATCH /teams/{team_id}", body)

    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (status, name)
    assert (await ask(admin, f"GET /teams/{team_id}")).json() == before
    assert await news.events() == []


async def test_a_team_keeps_its_name_in_another_case(ask, admin):
    team_id = (await make(ask, admin))["id"]

    answer = await ask(admin, f"PATCH /teams/{team_id}", {"name": "SERVERS"})

    assert answer.json()["team"]["name"] == "SERVERS"


@pytest.mark.parametrize("what", ["GET /teams/{}", "PATCH /teams/{}", "DELETE /teams/{}", "GET /teams/{}/users"])
async def test_an_unknown_team_is_missing_for_admins_and_forbidden_to_strangers(ask, admin, make_user, what):
    nobody = await make_user(None)

    missing = await ask(admin, what.format(99), {} if "PATCH" in what else None)
    forbidden = await ask(nobody, what.format(99), {} if "PATCH" in what else None)

    assert (missing.status_code, missing.json()["message"]) == (404, "Resource Not Found")
    assert missing.json()["errors"][0]["reason"] == "Team 99 was not found in the datastore"
    assert (forbidden.status_code, forbidden.json()["message"]) == (403, "forbidden")


async def test_a_team_admin_changes_the_own_team_only_and_removes_none(ask, admin, make_user):
    own, other = await make(ask, admin), await make(ask, admin, name="Laptops")
    member = await make_user("admin", own["id"])

    statuses = [
        (await ask(member, f"PATCH /teams/{own['id']}", {"description": "mine"})).status_code,
        (await ask(member, f"PATCH /teams/{other['id']}", {"description": "mine"})).status_code,
        (await ask(member, f"GET /teams/{other['id']}")).status_code,
        (await ask(member, f"DELETE /teams/{own['id']}")).status_code,
        (await ask(member, "POST /teams", {"name": "Another"})).status_code,
    ]

    assert statuses == [200, 403, 403, 403, 403]


async def test_a_removed_team_takes_members_secrets_and_queries_along(ask, admin, make_user, database, news):
    team_id = (await make(ask, admin))["id"]
    await make_user("observer", team_id)
    query = {"name": "q", "query": "SELECT 1", "team_id": team_id, "labels_include_any": ["All Hosts"]}
    query_id = (await ask(admin, "POST /queries", query)).json()["query"]["id"]
    await news.events()
    await news.activities()

    answer = await ask(admin, f"DELETE /teams/{team_id}")

    assert (answer.status_code, answer.json()) == (200, {})
    for table in (Team, UserTeam, Query, QueryLabel):
        assert not await database.rows(table)
    assert [row.team_id for row in await database.rows(EnrollSecret)] == [None]
    assert await news.events() == [
        ("query_changed", {"query_id": query_id, "team_id": team_id, "deleted": True}),
        ("enroll_secrets_changed", {"team_id": team_id}),
        ("team_changed", {"team_id": team_id, "deleted": True}),
    ]
    assert await news.activities() == [("deleted_team", {"team_id": team_id, "team_name": "Servers"})]


@pytest.mark.parametrize("version", ["v1", "2022-04", "latest"])
async def test_teams_are_there_in_every_version(client, admin, version):
    answer = await client.get(f"/api/{version}/fleet/teams", headers=admin.headers)

    assert answer.json() == {"teams": []}
