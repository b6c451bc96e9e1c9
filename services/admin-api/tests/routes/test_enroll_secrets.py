"""Enroll secrets: listed, replaced, masked, kept encrypted."""

from __future__ import annotations

import asyncio

import pytest
from admin_api.domain import enroll_secrets
from admin_api.domain.secret_limits import WantedSecret
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.db.models.admin_api import EnrollSecret


def spec(*secrets):
    return {"spec": {"secrets": [{"secret": secret} for secret in secrets]}}


def plain(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return [found["secret"] for found in body.get("spec", body)["secrets"]]


async def test_a_given_list_replaces_the_global_secrets(ask, admin, news):
    answer = await ask(admin, "POST /spec/enroll_secret", spec("one", "two"), overwrite="true")

    assert answer.json() == {}
    assert plain(await ask(admin, "GET /spec/enroll_secret")) == ["one", "two"]
    assert await news.events() == [("enroll_secrets_changed", {"team_id": None})]
    assert await news.activities() == [("edited_enroll_secrets", {"team_id": None, "team_name": None})]


async def test_what_get_prints_can_be_applied_again_and_keeps_its_age(ask, admin):
    before = (await ask(admin, "GET /spec/enroll_secret")).json()

    answer = await ask(admin, "POST /spec/enroll_secret", before)

    assert answer.status_code == 200
    assert (await ask(admin, "GET /spec/enroll_secret")).json() == before
    assert set(before["spec"]["secrets"][0]) == {"secret", "created_at"}


async def test_an_empty_list_lets_no_host_in(ask, admin, database):
    await ask(admin, "POST /spec/enroll_secret", spec())

    assert await database.rows(EnrollSecret) == []


async def test_secrets_are_stored_encrypted_with_the_hash_that_inventory_looks_up(ask, admin, database, secrets_key):
    await ask(admin, "POST /spec/enroll_secret", spec("open sesame"))

    [row] = await database.rows(EnrollSecret)
    assert row.lookup_hash == enroll_secret_lookup(secrets_key, "open sesame")
    assert b"sesame" not in row.ciphertext


async def test_of_two_sets_given_at_once_the_later_one_stands_alone(ask, admin, database, secrets_key, blocked):
    async with database.sessions("admin_api").begin() as session:
        await enroll_secrets.replace(session, secrets_key, None, [WantedSecret("earlier")])
        applying = asyncio.ensure_future(ask(admin, "POST /spec/enroll_secret", spec("later")))
        await blocked()

    assert (await applying).status_code == 200
    assert plain(await ask(admin, "GET /spec/enroll_secret")) == ["later"]


async def test_a_secret_given_twice_is_one(ask, admin):
    await ask(admin, "POST /spec/enroll_secret", spec("one", "one"))

    assert plain(await ask(admin, "GET /spec/enroll_secret")) == ["one"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({}, 422, "missing required argument"),
        ({"spec": {}}, 422, "missing required argument"),
        ({"spec": {"secrets": None}}, 422, "missing required argument"),
        (spec(""), 422, "enroll secret must not be empty"),
        (spec("********"), 422, "enroll secret must not be empty"),
        (spec("x" * 256), 422, "enroll secret is longer than 255 characters"),
        (spec("a\x00"), 422, "enroll secret has a character that cannot be stored"),
        (spec(*(f"s{number}" for number in range(51))), 422, "too many secrets"),
        (spec("of the team"), 409, 'EnrollSecret "********" already exists'),
        ({"spec": {"secrets": ["one"]}}, 400, "json decoder error"),
        ({"spec": []}, 400, "json decoder error"),
    ],
)
async def test_secrets_that_make_no_sense_change_nothing(ask, admin, news, body, status, reason):
    await ask(admin, "POST /teams", {"name": "Servers", "secrets": [{"secret": "of the team"}]})
    before = (await ask(admin, "GET /spec/enroll_secret")).json()
    await news.events()

    answer = await ask(admin, "POST /spec/enroll_secret", body)

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (status, reason)
    assert (await ask(admin, "GET /spec/enroll_secret")).json() == before
    assert await news.events() == []


async def test_a_dry_run_says_what_is_wrong_and_changes_nothing(ask, admin, news):
    await ask(admin, "POST /teams", {"name": "Servers", "secrets": [{"secret": "of the team"}]})
    before = (await ask(admin, "GET /spec/enroll_secret")).json()
    await news.events()

    good = await ask(admin, "POST /spec/enroll_secret", spec("new"), dry_run="true")
    taken = await ask(admin, "POST /spec/enroll_secret", spec("of the team"), dry_run="true")

    assert (good.status_code, taken.status_code) == (200, 422)
    reason = "a provided global enroll secret is already being used"
    assert taken.json()["errors"] == [{"name": "secrets", "reason": reason}]
    assert (await ask(admin, "GET /spec/enroll_secret")).json() == before
    assert await news.events() == []


async def test_a_teams_secrets_are_replaced_and_shown(ask, admin, make_team, news):
    team_id = await make_team("Servers")

    answer = await ask(admin, f"PATCH /teams/{team_id}/secrets", spec("one")["spec"])

    assert plain(answer) == ["one"]
    assert answer.json()["secrets"][0]["team_id"] == team_id
    assert plain(await ask(admin, f"GET /teams/{team_id}/secrets")) == ["one"]
    assert await news.events() == [("enroll_secrets_changed", {"team_id": team_id})]
    assert await news.activities() == [("edited_enroll_secrets", {"team_id": team_id, "team_name": "Servers"})]


@pytest.mark.parametrize(
    ("body", "status"), [({}, 422), ({"secrets": None}, 422), ({"secrets": {}}, 400), ({"secrets": [{}]}, 422)]
)
async def test_a_team_keeps_its_secrets_when_the_list_makes_no_sense(ask, admin, make_team, body, status):
    team_id = await make_team("Servers")
    await ask(admin, f"PATCH /teams/{team_id}/secrets", spec("one")["spec"])

    answer = await ask(admin, f"PATCH /teams/{team_id}/secrets", body)

    assert answer.status_code == status
    assert plain(await ask(admin, f"GET /teams/{team_id}/secrets")) == ["one"]


@pytest.mark.parametrize("what", ["GET /teams/99/secrets", "PATCH /teams/99/secrets"])
async def test_the_secrets_of_an_unknown_team_are_missing(ask, admin, what):
    assert (await ask(admin, what, {"secrets": []} if "PATCH" in what else None)).status_code == 404


@pytest.mark.parametrize(
    ("role", "own", "reads_global", "writes_global", "reads_team", "writes_team"),
    [
        ("maintainer", None, 200, 200, 200, 200),
        ("observer", None, 403, 403, 200, 403),
        ("observer_plus", None, 403, 403, 200, 403),
        ("gitops", None, 403, 200, 403, 403),
        ("admin", True, 403, 403, 200, 200),
        ("maintainer", True, 403, 403, 200, 200),
        ("observer", True, 403, 403, 200, 403),
        ("admin", False, 403, 403, 403, 403),
        ("maintainer", False, 403, 403, 403, 403),
    ],
)
async def test_each_role_reads_and_writes_what_it_may(
    ask, make_team, make_user, role, own, reads_global, writes_global, reads_team, writes_team
):
    team_id, other_id = await make_team("Servers"), await make_team("Laptops")
    member = await make_user(role, {None: None, True: team_id, False: other_id}[own], api_only=role == "gitops")

    statuses = [
        (await ask(member, "GET /spec/enroll_secret")).status_code,
        (await ask(member, "POST /spec/enroll_secret", spec("new"))).status_code,
        (await ask(member, f"GET /teams/{team_id}/secrets")).status_code,
        (await ask(member, f"PATCH /teams/{team_id}/secrets", {"secrets": []})).status_code,
    ]

    assert statuses == [reads_global, writes_global, reads_team, writes_team]
