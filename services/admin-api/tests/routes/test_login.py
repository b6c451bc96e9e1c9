"""Logging in and out."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest
from admin_api.app import build_app, create_app
from flotilla_common.db import engine as db
from flotilla_common.db.models.admin_api import Activity, LoginSession, User
from flotilla_common.testing.database import Database
from flotilla_stack.servers import RunningServer, Valkey
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

LOGIN = "/api/latest/fleet/login"
PASSWORD = "correct-Horse-7"


async def test_a_login_answers_user_teams_and_a_token(client, admin, make_team):
    team_id = await make_team("Servers")

    answer = await client.post(LOGIN, json={"EMAIL": "ADA@acme.test", "password": PASSWORD})

    body = answer.json()
    assert answer.status_code == 200
    assert body["user"]["email"] == "ada@acme.test"
    assert body["available_teams"] == [{"id": team_id, "name": "Servers", "description": ""}]
    assert len(body["token"]) == 88


async def test_only_a_hash_of_the_token_is_kept(client, admin, database: Database):
    [row] = await database.rows(LoginSession)

    assert admin.token.encode() not in row.token_hash
    assert len(row.token_hash) == 32


async def test_a_login_is_recorded_with_the_callers_address(client, admin, database: Database):
    headers = {"X-Forwarded-For": "10.9.9.9, 192.0.2.7"}

    await client.post(LOGIN, json={"email": "ada@acme.test", "password": PASSWORD}, headers=headers)

    [activity] = await database.rows(Activity)
    assert (activity.type, activity.details) == ("user_logged_in", {"public_ip": "192.0.2.7"})
    assert activity.actor_id == 1


@pytest.mark.parametrize("email", ["ada@acme.test", "nobody@acme.test"])
async def test_a_failed_login_says_the_same_for_known_and_unknown_addresses(client, admin, database: Database, email):
    answer = await client.post(LOGIN, json={"email": email, "password": "wrong"})

    body = answer.json()
    assert answer.status_code == 401
    assert body["message"] == "Authentication failed"
    assert body["errors"] == [{"name": "base", "reason": "Authentication failed"}]
    [activity] = await database.rows(Activity)
    assert (activity.type, activity.details["email"]) == ("user_failed_login", email)
    assert activity.actor_id is None


async def test_a_failed_login_takes_its_time(deps, admin):
    slow = replace(deps, settings=deps.settings.model_copy(update={"failed_login_seconds": 0.4}))
    transport = httpx2.ASGITransport(app=create_app(slow))
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin.test") as client:
        started = time.monotonic()
        await client.post(LOGIN, json={"email": "nobody@acme.test", "password": "wrong"})

    assert time.monotonic() - started >= 0.4


async def test_the_eleventh_login_in_a_minute_has_to_wait(client, admin):
    answers = [await client.post(LOGIN, json={"email": "a@b.c", "password": "x"}) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[-1].json()["message"].startswith("limit exceeded, retry after: ")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 6


async def test_a_login_without_a_password_fails_like_any_other(client, admin):
    assert (await client.post(LOGIN, json={})).status_code == 401


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expected JSON Body"),
        (b"{", "json decoder error"),
        (b'{"email": 1}', "json decoder error"),
        (b"[]", "json decoder error"),
        (b"\xff\xfe", "json decoder error"),
    ],
)
async def test_a_malformed_login_is_a_400(client, admin, content, message):
    answer = await client.post(LOGIN, content=content)

    assert (answer.status_code, answer.json()["message"]) == (400, message)


async def test_a_logout_ends_the_token(client, admin):
    assert (await client.post("/api/v1/fleet/logout", headers=admin.headers)).json() == {}

    answer = await client.get("/api/v1/fleet/me", headers=admin.headers)
    assert (answer.status_code, answer.json()["message"]) == (401, "Authentication required")


async def test_people_log_in_and_are_held_back_while_redis_is_full(app, deps, client, admin, tmp_path):
    with RunningServer(Valkey(tmp_path / "valkey", password="test", durable=False)) as server:
        async with Redis.from_url(server.url()) as redis:
            app.state.deps = replace(deps, redis=redis)
            await redis.config_set("maxmemory", 1)
            with pytest.raises(OutOfMemoryError):
                await redis.set("campaign", "rows")

            answers = [await client.post(LOGIN, json={"email": "ada@acme.test", "password": PASSWORD})]
            answers += [await client.post(LOGIN, json={"email": "a@b.c", "password": "x"}) for _ in range(10)]

    assert [answer.status_code for answer in answers] == [200] + [401] * 9 + [429]


@pytest.fixture
async def other_replica(deps, settings):
    """A client of a second admin-api with connections of its own."""
    engine, app = db.create_engine(settings), build_app()
    app.state.deps = replace(deps, sessions=db.session_maker(engine))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://other.test") as opened:
        yield opened
    await engine.dispose()


@pytest.mark.parametrize("end", [("POST", "/logout"), ("DELETE", "/users/1/sessions")])
async def test_a_token_that_one_replica_ends_is_refused_by_every_other_one_at_once(client, other_replica, admin, end):
    before = await other_replica.get("/api/v1/fleet/me", headers=admin.headers)
    method, path = end
    assert (await client.request(method, f"/api/v1/fleet{path}", headers=admin.headers)).status_code == 200

    after = await other_replica.get("/api/v1/fleet/me", headers=admin.headers)

    assert (before.status_code, after.status_code) == (200, 401)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer a b", "tokenonly"])
async def test_without_two_words_there_is_no_token(client, admin, header):
    headers = {} if header is None else {"Authorization": header}

    answer = await client.get("/api/v1/fleet/me", headers=headers)

    assert (answer.status_code, answer.json()["message"]) == (401, "Authorization header required")


async def test_the_token_may_stand_in_the_query(client, admin):
    assert (await client.get("/api/v1/fleet/me", params={"token": admin.token})).status_code == 200


async def test_a_login_slides_and_ends_five_days_after_its_last_use(client, admin, clock):
    for _ in range(3):
        clock.ahead += timedelta(days=4)
        assert (await client.get("/api/v1/fleet/me", headers=admin.headers)).status_code == 200

    clock.ahead += timedelta(days=5, seconds=1)
    assert (await client.get("/api/v1/fleet/me", headers=admin.headers)).status_code == 401


async def test_a_token_of_an_api_only_user_never_ends(client, make_user, clock):
    robot = await make_user("observer", api_only=True)

    clock.ahead += timedelta(days=5000)
    assert (await client.get("/api/v1/fleet/me", headers=robot.headers)).status_code == 200


async def test_me_shows_ui_settings_only_where_asked(client, admin):
    plain = await client.get("/api/v1/fleet/me", headers=admin.headers)
    asked = await client.get("/api/v1/fleet/me?include_ui_settings=true", headers=admin.headers)

    assert "settings" not in plain.json()
    assert asked.json()["settings"] == {"hidden_host_columns": []}


async def test_authentication_comes_before_the_body(client, admin):
    answer = await client.post("/api/v1/fleet/change_password", content=b"{")

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("old", "new", "name", "reason"),
    [
        ("", "new-Password-88", "old_password", "cannot be empty"),
        (PASSWORD, "", "new_password", "cannot be empty"),
        (PASSWORD, "weak", "new_password", "Password does not meet"),
        (PASSWORD, "no digits here!!", "new_password", "Password does not meet"),
        (PASSWORD, "nosymbolhere12345", "new_password", "Password does not meet"),
        (PASSWORD, "9!" + "x" * 47, "new_password", "48 characters"),
        (PASSWORD, PASSWORD, "new_password", "Cannot reuse old password"),
        ("not-the-old-1", "new-Password-88", "old_password", "old password does not match"),
    ],
)
async def test_a_password_change_is_held_to_the_rules(client, admin, old, new, name, reason):
    answer = await client.post(
        "/api/v1/fleet/change_password", json={"old_password": old, "new_password": new}, headers=admin.headers
    )

    [error] = answer.json()["errors"]
    assert answer.status_code == 422
    assert error["name"] == name
    assert reason in error["reason"]


async def test_a_changed_password_works_and_leaves_the_login(client, admin):
    body = {"old_password": PASSWORD, "new_password": "new-Password-88"}
    changed = await client.post("/api/v1/fleet/change_password", json=body, headers=admin.headers)

    assert changed.json() == {}
    assert (await client.get("/api/v1/fleet/me", headers=admin.headers)).status_code == 200
    login = await client.post(LOGIN, json={"email": "ada@acme.test", "password": "new-Password-88"})
    assert login.status_code == 200


async def test_who_must_reset_the_password_can_do_nothing_else(client, admin, make_user):
    user = await make_user("observer")
    path = f"/api/v1/fleet/users/{user.user_id}/require_password_reset"
    required = await client.post(path, json={"require": True}, headers=admin.headers)
    ended = await client.get("/api/v1/fleet/me", headers=user.headers)
    token = (await client.post(LOGIN, json={"email": user.email, "password": PASSWORD})).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}

    refused = await client.get("/api/v1/fleet/me", headers=headers)
    reset = "/api/v1/fleet/perform_required_password_reset"
    reused = await client.post(reset, json={"new_password": PASSWORD}, headers=headers)
    done = await client.post(reset, json={"new_password": "new-Password-88"}, headers=headers)
    again = await client.post(reset, json={"new_password": "new-Password-99"}, headers=headers)

    assert required.json()["user"]["force_password_reset"] is True
    assert ended.json()["message"] == "Authentication required"
    assert (refused.status_code, refused.json()["message"]) == (401, "password reset required")
    assert reused.json()["errors"][0]["reason"] == "Cannot reuse old password"
    assert done.json()["user"]["force_password_reset"] is False
    assert (await client.get("/api/v1/fleet/me", headers=headers)).status_code == 200
    assert again.status_code == 403


async def test_a_password_is_hashed_with_argon2(client, admin, database: Database):
    [user] = await database.rows(User)

    assert user.password_hash.startswith("$argon2id$")
