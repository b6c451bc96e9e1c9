"""Users: made, changed, removed, and given roles, by whoever may."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from admin_api.store import users
from flotilla_common.db.models.admin_api import LoginSession, Query, User, UserTeam

PASSWORD = "correct-Horse-7"
NEW = {"name": "Bo", "email": "Bo@Acme.test", "password": PASSWORD, "global_role": "observer"}


async def test_a_new_user_has_to_choose_a_password_at_the_first_login(ask, admin, database, news):
    answer = await ask(admin, "POST /users/admin", NEW)

    user = answer.json()["user"]
    assert answer.status_code == 200
    assert (user["email"], user["global_role"], user["teams"]) == ("bo@acme.test", "observer", [])
    assert user["force_password_reset"] is True
    assert "token" not in answer.json()
    stored = next(row for row in await database.rows(User) if row.id == user["id"])
    assert stored.password_hash.startswith("$argon2id$")
    about = {"user_id": user["id"], "user_name": "Bo", "user_email": "bo@acme.test"}
    assert await news.activities() == [
        ("created_user", about),
        ("changed_user_global_role", {**about, "role": "observer"}),
    ]


async def test_an_api_only_user_gets_a_token_shown_once_and_stored_as_a_hash(ask, client, admin, database):
    answer = await ask(admin, "POST /users/admin", {**NEW, "api_only": True, "global_role": "gitops"})

    token = answer.json()["token"]
    config = await client.get("/api/latest/fleet/config", headers={"Authorization": f"Bearer {token}"})
    assert config.status_code == 200
    assert "token" not in (await ask(admin, f"GET /users/{answer.json()['user']['id']}")).json()
    assert not [row for row in await database.rows(LoginSession) if token.encode() in row.token_hash]


async def test_a_team_user_is_made_with_roles_on_teams(ask, admin, make_team, news):
    servers, laptops = await make_team("Servers"), await make_team("Laptops")
    teams = [{"id": laptops, "role": "admin"}, {"id": servers, "role": "observer"}]

    answer = await ask(admin, "POST /users/admin", {**NEW, "global_role": None, "teams": teams})

    user = answer.json()["user"]
    assert user["global_role"] is None
    assert [(team["id"], team["name"], team["role"]) for team in user["teams"]] == [
        (servers, "Servers", "observer"),
        (laptops, "Laptops", "admin"),
    ]
    roles = [details for kind, details in await news.activities() if kind == "changed_user_team_role"]
    assert [(role["team_id"], role["team_name"], role["role"]) for role in roles] == [
        (servers, "Servers", "observer"),
        (laptops, "Laptops", "admin"),
    ]


@pytest.mark.parametrize(
    ("change", "status", "name"),
    [
        ({"name": " "}, 422, "name"),
        ({"name": "x" * 256}, 422, "name"),
        ({"email": ""}, 422, "email"),
        ({"email": "bo"}, 422, "email"),
        ({"email": "b o@acme.test"}, 422, "email"),
        ({"email": "x" * 300 + "@acme.test"}, 422, "email"),
        ({"email": "ADA@acme.test"}, 409, "base"),
        ({"password": ""}, 422, "password"),
        ({"password": "weak"}, 422, "password"),
        ({"sso_enabled": True}, 422, "password"),
        ({"global_role": "king"}, 422, None),
        ({"global_role": None}, 422, None),
        ({"global_role": None, "teams": []}, 422, None),
        ({"teams": [{"id": 1, "role": "observer"}]}, 422, None),
        ({"global_role": None, "teams": [{"id": 99, "role": "observer"}]}, 422, "teams.id"),
        ({"global_role": "gitops"}, 422, None),
        ({"name": 1}, 400, "base"),
        ({"teams": "all"}, 400, "base"),
    ],
)
async def test_a_user_who_makes_no_sense_is_refused(ask, admin, database, news, change, status, name):
    answer = await ask(admin, "POST /users/admin", {**NEW, **change})

    body = answer.json()
    assert answer.status_code == status
    assert (body["errors"][0]["name"] if "errors" in body else None) == name
    assert ("code" in body) is (status == 422 and name is None)
    assert len(await database.rows(User)) == 1
    assert await news.activities() == []


async def test_a_team_admin_makes_users_of_the_own_team_only(ask, make_team, make_user):
    own, other = await make_team("Servers"), await make_team("Laptops")
    member = await make_user("admin", own)

    statuses = [
        (await ask(member, "POST /users/admin", {**NEW, "global_role": None, "teams": teams})).status_code
        for teams in (
            [{"id": own, "role": "admin"}],
            [{"id": other, "role": "observer"}],
            [{"id": own, "role": "observer"}, {"id": other, "role": "observer"}],
        )
    ]
    everywhere = await ask(member, "POST /users/admin", {**NEW, "email": "c@acme.test"})

    assert [*statuses, everywhere.status_code] == [200, 403, 403, 403]


async def test_a_team_admin_reaches_nobody_with_a_role_elsewhere(ask, admin, make_team, make_user, database):
    own, other = await make_team("Servers"), await make_team("Laptops")
    member, mine = await make_user("admin", own), await make_user("observer", own)
    shared, theirs = await make_user("observer", own), await make_user("observer", other)
    await database.add(UserTeam(user_id=shared.user_id, team_id=other, role="observer"))

    async def statuses(target):
        path = f"/users/{target}"
        return [
            (await ask(member, f"GET {path}")).status_code,
            (await ask(member, f"PATCH {path}", {"new_password": "new-Password-88"})).status_code,
            (await ask(member, f"POST {path}/require_password_reset", {"require": True})).status_code,
            (await ask(member, f"DELETE {path}")).status_code,
        ]

    assert await statuses(theirs.user_id) == [403] * 4
    assert await statuses(admin.user_id) == [403] * 4
    assert await statuses(shared.user_id) == [200, 403, 403, 403]
    assert await statuses(mine.user_id) == [200] * 4


async def test_a_list_is_for_admins_and_a_teams_list_for_its_own(ask, admin, make_team, make_user):
    own, other = await make_team("Servers"), await make_team("Laptops")
    member, observer = await make_user("admin", own), await make_user("observer", own)
    await make_user("observer", other)

    everybody = (await ask(admin, "GET /users", query="USER", order_key="email", order_direction="desc")).json()
    team = (await ask(member, "GET /users", team_id=str(own))).json()["users"]

    assert [user["email"] for user in everybody["users"]] == [f"user{number}@acme.test" for number in (3, 2, 1)]
    assert [user["id"] for user in team] == [member.user_id, observer.user_id]
    assert (await ask(member, "GET /users")).status_code == 403
    assert (await ask(member, "GET /users", team_id=str(other))).status_code == 403
    assert (await ask(observer, "GET /users", team_id=str(own))).status_code == 403
    assert (await ask(admin, "GET /users", order_key="password_hash")).status_code == 422
    assert "password" not in str([{k: v for k, v in user.items() if k != "force_password_reset"} for user in team])


async def test_everybody_sees_and_renames_themselves_and_no_more(ask, make_user):
    observer = await make_user("observer")
    path = f"/users/{observer.user_id}"

    shown = await ask(observer, f"GET {path}")
    renamed = await ask(observer, f"PATCH {path}", {"name": "Bo", "settings": {"hidden_host_columns": ["uuid"]}})
    raised = await ask(observer, f"PATCH {path}", {"global_role": "admin"})
    same = await ask(observer, f"PATCH {path}", {"global_role": "observer"})
    other = await ask(observer, "PATCH /users/1", {"name": "Mine"})

    assert (shown.status_code, renamed.json()["user"]["name"]) == (200, "Bo")
    assert [raised.status_code, same.status_code, other.status_code] == [403, 200, 403]


async def test_a_setting_that_python_takes_for_equal_is_stored(ask, make_user, database):
    observer = await make_user("observer")
    await ask(observer, f"PATCH /users/{observer.user_id}", {"settings": {"dark": 1}})

    await ask(observer, f"PATCH /users/{observer.user_id}", {"settings": {"dark": True}})

    me = (await ask(observer, "GET /me", include_ui_settings="true")).json()
    assert me["settings"]["dark"] is True


async def test_every_change_of_a_user_leaves_its_time(ask, admin, make_team, make_user, clock):
    member, team_id = await make_user("observer"), await make_team("Servers")
    path = f"/users/{member.user_id}"
    roles = {member.email: {"teams": [{"team": "Servers", "role": "observer"}]}}
    changes = [
        (admin, f"PATCH {path}", {"name": "Bo"}),
        (member, "POST /change_password", {"old_password": PASSWORD, "new_password": "new-Password-88"}),
        (admin, "POST /users/roles/spec", {"spec": {"roles": roles}}),
        (admin, f"PATCH /teams/{team_id}/users", {"users": [{"id": member.user_id, "role": "maintainer"}]}),
        (admin, f"DELETE /teams/{team_id}/users", {"users": [{"id": member.user_id}]}),
        (admin, f"POST {path}/require_password_reset", {"require": True}),
    ]

    times = []
    for who, what, body in changes:
        clock.ahead += timedelta(seconds=10)
        assert (await ask(who, what, body)).status_code == 200
        times.append((await ask(admin, f"GET {path}")).json()["user"]["updated_at"])

    assert times == sorted(set(times))


async def test_a_user_who_is_removed_while_being_changed_is_missing(ask, admin, make_user, database, blocked):
    member = await make_user("observer")
    async with database.sessions("admin_api").begin() as session:
        await users.remove(session, member.user_id)
        asking = asyncio.ensure_future(ask(admin, f"PATCH /users/{member.user_id}", {"name": "Bo"}))
        await blocked()

    assert (await asking).status_code == 404


async def test_an_address_belongs_to_one_user(ask, admin, make_user):
    observer = await make_user("observer")

    answer = await ask(admin, f"PATCH /users/{observer.user_id}", {"email": "ADA@ACME.TEST"})

    assert answer.status_code == 409


async def test_a_global_role_takes_the_place_of_team_roles(ask, admin, make_team, make_user, database, news):
    team_id = await make_team("Servers")
    member = await make_user("observer", team_id)

    answer = await ask(admin, f"PATCH /users/{member.user_id}", {"global_role": "maintainer"})
    both = await ask(
        admin, f"PATCH /users/{member.user_id}", {"global_role": "admin", "teams": [{"id": team_id, "role": "admin"}]}
    )

    assert (answer.json()["user"]["global_role"], answer.json()["user"]["teams"]) == ("maintainer", [])
    assert await database.rows(UserTeam) == []
    assert [kind for kind, _ in await news.activities()] == ["changed_user_global_role", "deleted_user_team_role"]
    assert (both.status_code, both.json()["errors"][0]["name"]) == (422, "teams")


async def test_the_last_admin_stays(ask, admin, make_user):
    robot = await make_user("gitops", api_only=True)

    patched = await ask(admin, "PATCH /users/1", {"global_role": "observer"})
    deleted = await ask(admin, "DELETE /users/1")
    spec = await ask(admin, "POST /users/roles/spec", {"spec": {"roles": {admin.email: {"global_role": "observer"}}}})

    assert [answer.json()["code"] for answer in (patched, deleted, spec)] == [2, 2, 2]
    assert patched.json()["message"] == "You need at least one admin"
    assert (await ask(robot, "DELETE /users/1")).status_code == 403


async def test_a_removed_user_leaves_what_they_made_and_can_do_nothing(ask, admin, make_user, database, news):
    maker = await make_user("maintainer")
    await ask(maker, "POST /queries", {"name": "q", "query": "SELECT 1"})
    await news.activities()

    answer = await ask(admin, f"DELETE /users/{maker.user_id}")

    [query] = await database.rows(Query)
    assert answer.json() == {}
    assert (query.author_id, query.author_email) == (None, maker.email)
    assert (await ask(maker, "GET /me")).status_code == 401
    about = {"user_id": maker.user_id, "user_name": "User 1", "user_email": maker.email}
    assert await news.activities() == [("deleted_user", about)]


@pytest.mark.parametrize("what", ["GET /users/99", "PATCH /users/99", "DELETE /users/99", "GET /users/99/sessions"])
async def test_an_unknown_user_is_missing(ask, admin, what):
    answer = await ask(admin, what, {} if "PATCH" in what else None)

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (
        404,
        "User 99 was not found in the datastore",
    )


async def test_roles_are_given_by_spec_and_not_by_a_dry_run(ask, admin, make_team, make_user, news):
    team_id = await make_team("Servers")
    one, two = await make_user("observer"), await make_user("observer", team_id)
    roles = {
        one.email: {"global_role": None, "teams": [{"team": "SERVERS", "role": "maintainer"}]},
        two.email.upper(): {"global_role": "maintainer", "teams": []},
    }

    dry = await ask(admin, "POST /users/roles/spec", {"spec": {"roles": roles}}, dry_run="true")
    unchanged = (await ask(admin, f"GET /users/{two.user_id}")).json()["user"]
    wet = await ask(admin, "POST /users/roles/spec", {"spec": {"roles": roles}})

    assert (dry.status_code, unchanged["global_role"]) == (200, None)
    assert wet.json() == {}
    first, second = [(await ask(admin, f"GET /users/{who.user_id}")).json()["user"] for who in (one, two)]
    assert (first["global_role"], [team["role"] for team in first["teams"]]) == (None, ["maintainer"])
    assert (second["global_role"], second["teams"]) == ("maintainer", [])
    assert len(await news.activities()) == 4


@pytest.mark.parametrize(
    ("roles", "status"),
    [
        ({"nobody@acme.test": {"global_role": "observer"}}, 404),
        ({"user1@acme.test": {"teams": [{"team": "Nowhere", "role": "observer"}]}}, 400),
        ({"user1@acme.test": {"global_role": "king"}}, 422),
        ({"user1@acme.test": {}}, 422),
        ({"user1@acme.test": {"global_role": 1}}, 400),
        ([], 400),
    ],
)
async def test_one_bad_role_and_none_is_given(ask, admin, make_user, news, roles, status):
    await make_user("observer")
    good = {"user2@acme.test": {"global_role": "admin"}}
    await make_user("observer")

    answer = await ask(
        admin, "POST /users/roles/spec", {"spec": {"roles": {**good, **roles} if isinstance(roles, dict) else roles}}
    )

    assert answer.status_code == status
    assert await news.activities() == []
