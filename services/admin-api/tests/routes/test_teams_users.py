"""Members of a team: listed, added, given another role, taken out."""

from __future__ import annotations

import pytest


def about(member, role, team_id):
    return {
        "user_id": member.user_id,
        "user_name": f"User {member.user_id - 1}",
        "user_email": member.email,
        "role": role,
        "team_id": team_id,
        "team_name": "Servers",
    }


async def roles(ask, admin, team_id):
    found = (await ask(admin, f"GET /teams/{team_id}/users")).json()["users"]
    return {user["id"]: user["role"] for user in found}


async def test_members_are_added_and_given_another_role(ask, admin, make_team, make_user, news):
    team_id = await make_team("Servers")
    old, new = await make_user("observer", team_id), await make_user(None)
    body = {"users": [{"id": old.user_id, "role": "maintainer"}, {"id": new.user_id, "role": "observer"}]}

    answer = await ask(admin, f"PATCH /teams/{team_id}/users", body)

    assert answer.json()["team"]["user_count"] == 2
    assert await roles(ask, admin, team_id) == {old.user_id: "maintainer", new.user_id: "observer"}
    assert await news.activities() == [
        ("changed_user_team_role", about(old, "maintainer", team_id)),
        ("changed_user_team_role", about(new, "observer", team_id)),
    ]


async def test_members_who_are_not_named_stay_and_so_do_roles_on_other_teams(ask, admin, make_team, make_user):
    servers, laptops = await make_team("Servers"), await make_team("Laptops")
    stays, both = await make_user("observer", servers), await make_user("admin", laptops)

    await ask(admin, f"PATCH /teams/{servers}/users", {"users": [{"id": both.user_id, "role": "observer"}]})

    assert await roles(ask, admin, servers) == {stays.user_id: "observer", both.user_id: "observer"}
    assert await roles(ask, admin, laptops) == {both.user_id: "admin"}


async def test_a_member_is_taken_out(ask, admin, make_team, make_user, news):
    team_id = await make_team("Servers")
    goes, stays = await make_user("observer", team_id), await make_user("admin", team_id)

    answer = await ask(admin, f"DELETE /teams/{team_id}/users", {"users": [{"id": goes.user_id}]})
    again = await ask(admin, f"DELETE /teams/{team_id}/users", {"users": [{"id": goes.user_id}]})

    assert (answer.status_code, again.status_code) == (200, 200)
    assert await roles(ask, admin, team_id) == {stays.user_id: "admin"}
    assert (await ask(goes, f"GET /teams/{team_id}")).status_code == 403
    assert await news.activities() == [("deleted_user_team_role", about(goes, "observer", team_id))]


@pytest.mark.parametrize(
    ("user", "status", "reason"),
    [
        ({"id": 1, "role": "observer"}, 422, "user 1 has a global role"),
        ({"id": 99, "role": "observer"}, 422, "user 99 does not exist"),
        ({"id": 2, "role": "king"}, 422, "invalid team role: king"),
        ({"id": 2}, 422, "invalid team role: "),
        ({"id": 2, "role": "gitops"}, 422, "role can only be assigned for API-only users"),
        ({"id": "2", "role": "observer"}, 400, "json decoder error"),
        ({"role": "observer"}, 400, "json decoder error"),
        ({"id": 2**63, "role": "observer"}, 400, "json decoder error"),
    ],
)
async def test_a_member_who_makes_no_sense_is_refused_and_nobody_is_added(
    ask, admin, make_team, make_user, user, status, reason
):
    team_id = await make_team("Servers")
    good = await make_user(None)
    assert good.user_id == 2

    answer = await ask(admin, f"PATCH /teams/{team_id}/users", {"users": [{"id": 2, "role": "observer"}, user]})

    body = answer.json()
    assert answer.status_code == status
    assert reason in {body["message"], *(error["reason"] for error in body.get("errors", []))}
    assert await roles(ask, admin, team_id) == {}


async def test_a_wrong_role_is_told_of_under_users(ask, admin, make_team, make_user):
    team_id, member = await make_team("Servers"), await make_user(None)

    answer = await ask(admin, f"PATCH /teams/{team_id}/users", {"users": [{"id": member.user_id, "role": "king"}]})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"name": "users", "reason": "invalid team role: king"}]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_body_without_a_list_of_users_is_malformed(ask, admin, make_team, method):
    team_id = await make_team("Servers")

    assert (await ask(admin, f"{method} /teams/{team_id}/users", {"users": 1})).status_code == 400
    assert (await ask(admin, f"{method} /teams/{team_id}/users")).status_code == 400


@pytest.mark.parametrize(
    ("role", "own", "reads", "writes"),
    [
        ("maintainer", None, 200, 403),
        ("observer", None, 200, 403),
        ("gitops", None, 403, 200),
        ("admin", True, 200, 200),
        ("maintainer", True, 200, 403),
        ("observer", True, 200, 403),
        ("admin", False, 403, 403),
    ],
)
async def test_who_may_see_and_change_members(ask, make_team, make_user, role, own, reads, writes):
    team_id, other_id = await make_team("Servers"), await make_team("Laptops")
    member = await make_user(role, {None: None, True: team_id, False: other_id}[own], api_only=role == "gitops")
    someone = await make_user(None)

    statuses = [
        (await ask(member, f"GET /teams/{team_id}/users")).status_code,
        (
            await ask(member, f"PATCH /teams/{team_id}/users", {"users": [{"id": someone.user_id, "role": "observer"}]})
        ).status_code,
        (await ask(member, f"DELETE /teams/{team_id}/users", {"users": [{"id": someone.user_id}]})).status_code,
    ]

    assert statuses == [reads, writes, writes]
