"""Passwords and logins of users: changed and ended by their owner, and by admins."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from admin_api.store import login_sessions

PASSWORD = "correct-Horse-7"


async def token_of(ask, email, password=PASSWORD):
    answer = await ask(None, "POST /login", {"email": email, "password": password})
    return answer.json().get("token")


async def test_a_new_password_of_ones_own_wants_the_old_one(ask, make_user):
    observer = await make_user("observer")
    path = f"PATCH /users/{observer.user_id}"

    without = await ask(observer, path, {"new_password": "new-Password-88"})
    wrong = await ask(observer, path, {"new_password": "new-Password-88", "password": "guess"})
    email = await ask(observer, path, {"email": "new@acme.test"})
    right = await ask(observer, path, {"new_password": "new-Password-88", "password": PASSWORD})

    assert (without.status_code, without.json()["errors"][0]["name"]) == (422, "password")
    assert (wrong.status_code, wrong.json()["message"]) == (403, "Permission Denied")
    assert (email.status_code, email.json()["errors"][0]["name"]) == (422, "password")
    assert right.status_code == 200
    assert await token_of(ask, observer.email, "new-Password-88")


async def test_an_api_only_user_shows_the_old_password_too(ask, make_user):
    robot = await make_user("observer", api_only=True)

    answer = await ask(robot, f"PATCH /users/{robot.user_id}", {"new_password": "new-Password-88"})

    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (422, "password")


async def test_nobody_is_locked_out_by_single_sign_on_that_is_not_there(ask, admin, make_user):
    observer, second = await make_user("observer"), await make_user("admin")

    oneself = await ask(admin, "PATCH /users/1", {"sso_enabled": True})
    others = [await ask(admin, f"PATCH /users/{user.user_id}", {"sso_enabled": True}) for user in (observer, second)]
    last = await ask(second, "PATCH /users/1", {"sso_enabled": True})
    removed = await ask(second, "DELETE /users/1")

    assert (oneself.status_code, oneself.json()["errors"][0]["name"]) == (422, "sso_enabled")
    assert "you could not log in" in oneself.json()["errors"][0]["reason"]
    assert [answer.status_code for answer in others] == [200, 200]
    assert (last.status_code, "no admin could log in" in last.text) == (422, True)
    assert (removed.status_code, removed.json()["code"]) == (422, 2)


async def test_a_login_that_ends_while_it_is_used_is_no_crash(ask, admin, make_user, database, clock, blocked):
    member = await make_user("observer")
    clock.ahead = timedelta(minutes=2)
    async with database.sessions("admin_api").begin() as session:
        await login_sessions.remove_of_user(session, member.user_id)
        asking = asyncio.ensure_future(ask(member, "GET /me"))
        await blocked()

    assert (await asking).status_code == 401


async def test_an_admin_sets_a_password_and_ends_the_logins(ask, admin, make_user):
    observer = await make_user("observer")

    answer = await ask(admin, f"PATCH /users/{observer.user_id}", {"new_password": "new-Password-88"})

    assert answer.status_code == 200
    assert (await ask(observer, "GET /me")).status_code == 401
    assert await token_of(ask, observer.email, "new-Password-88")


async def test_logins_are_seen_and_ended_by_their_owner_and_by_admins(ask, admin, make_user):
    observer, other = await make_user("observer"), await make_user("maintainer")
    [login] = (await ask(observer, f"GET /users/{observer.user_id}/sessions")).json()["sessions"]

    refused = [
        (await ask(other, f"GET /users/{observer.user_id}/sessions")).status_code,
        (await ask(other, f"DELETE /users/{observer.user_id}/sessions")).status_code,
        (await ask(other, f"GET /sessions/{login['session_id']}")).status_code,
        (await ask(other, f"DELETE /sessions/{login['session_id']}")).status_code,
        (await ask(other, "DELETE /sessions/999")).status_code,
    ]
    seen = await ask(admin, f"GET /sessions/{login['session_id']}")
    ended = await ask(admin, f"DELETE /sessions/{login['session_id']}")

    assert refused == [403] * 5
    assert set(login) == {"session_id", "user_id", "created_at"}
    assert (seen.json(), ended.json()) == (login, {})
    assert (await ask(observer, "GET /me")).status_code == 401
    assert (await ask(admin, "GET /sessions/999")).status_code == 404


async def test_all_logins_of_a_user_end_at_once(ask, admin, make_user):
    observer = await make_user("observer")
    await token_of(ask, observer.email)

    assert (await ask(admin, f"DELETE /users/{observer.user_id}/sessions")).json() == {}

    assert (await ask(admin, f"GET /users/{observer.user_id}/sessions")).json() == {"sessions": []}
    assert (await ask(observer, "GET /me")).status_code == 401
