"""Before and during setup."""

from __future__ import annotations

import pytest
from flotilla_common.db.models.admin_api import EnrollSecret, User
from flotilla_common.testing.database import Database

BODY = {
    "admin": {"name": "Ada Ops", "email": "Ada@Acme.test", "password": "correct-Horse-7"},
    "org_info": {"org_name": "Acme"},
    "server_url": "https://fleet.acme.test/",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/fleet/login"), ("GET", "/api/latest/fleet/me"), ("GET", "/api/latest/fleet/nothing")],
)
async def test_every_api_path_is_absent_until_setup(client, method, path):
    assert (await client.request(method, path)).status_code == 404


async def test_setup_answers_the_admin_logged_in(client):
    answer = await client.post("/api/v1/setup", json=BODY)

    body = answer.json()
    assert answer.status_code == 200
    assert body["admin"]["id"] == 1
    assert body["admin"]["email"] == "ada@acme.test"
    assert body["admin"]["global_role"] == "admin"
    assert body["admin"]["created_at"].endswith("Z")
    assert body["org_info"]["org_name"] == "Acme"
    assert body["server_url"] == "https://fleet.acme.test"
    assert body["osquery_enroll_secret"] is None
    me = await client.get("/api/v1/fleet/me", headers={"Authorization": f"bearer {body['token']}"})
    assert me.json()["user"] == body["admin"]


async def test_the_first_admin_can_log_in_whatever_blanks_stood_around_the_address(client):
    await client.post("/api/v1/setup", json={**BODY, "admin": {**BODY["admin"], "email": " Ada@Acme.test\n"}})

    login = {"email": " ada@acme.test", "password": BODY["admin"]["password"]}
    assert (await client.post("/api/v1/fleet/login", json=login)).status_code == 200


async def test_setup_makes_one_global_enroll_secret_encrypted(client, database: Database, secrets_key):
    answer = await client.post("/api/setup", json=BODY)

    [row] = await database.rows(EnrollSecret)
    secrets = await client.get(
        "/api/latest/fleet/spec/enroll_secret", headers={"Authorization": f"Bearer {answer.json()['token']}"}
    )
    [secret] = secrets.json()["spec"]["secrets"]
    assert row.team_id is None
    assert len(secret["secret"]) == 32
    assert secret["secret"].encode() not in row.ciphertext


async def test_setup_is_gone_afterwards(client, admin_token, database: Database):
    again = await client.post("/api/v1/setup", json=BODY)

    assert again.status_code == 404
    assert len(await database.rows(User)) == 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"server_url": ""}, "server_url"),
        ({"server_url": "fleet.acme.test"}, "server_url"),
        ({"server_url": "https://"}, "server_url"),
        ({"server_url": "https://[::1"}, "server_url"),
        ({"admin": {"name": "A", "email": "@" + "x" * 255, "password": "correct-Horse-7"}}, "email"),
        ({"admin": {"name": "A", "email": "", "password": "correct-Horse-7"}}, "email"),
        ({"admin": {"name": "A", "email": "a b@c", "password": "correct-Horse-7"}}, "email"),
        ({"admin": {"name": "A", "email": "@", "password": "correct-Horse-7"}}, "email"),
        ({"admin": {"name": "A", "email": "a@b.c", "password": ""}}, "password"),
        ({"admin": {"name": "A", "email": "a@b.c", "password": "short"}}, "password"),
    ],
)
async def test_setup_refuses_what_is_missing_or_weak(client, database: Database, change, name):
    answer = await client.post("/api/v1/setup", json={**BODY, **change})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["name"] == name
    assert not await database.rows(User)


async def test_a_malformed_setup_is_a_400(client):
    assert (await client.post("/api/v1/setup", content=b"{")).json()["message"] == "json decoder error"


async def test_a_config_without_the_name_of_an_organization_makes_the_round_trip(client):
    body = {name: value for name, value in BODY.items() if name != "org_info"}
    token = (await client.post("/api/setup", json=body)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}

    config = (await client.get("/api/v1/fleet/config", headers=headers)).json()

    assert (await client.patch("/api/v1/fleet/config", json=config, headers=headers)).status_code == 200
