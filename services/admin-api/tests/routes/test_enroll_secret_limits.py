"""Enroll secrets with limits, and the overlap when they are rotated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flotilla_common.db.models.admin_api import EnrollSecret
from flotilla_common.db.models.inventory import EnrollSecretUse

LIMITED = {
    "secret": "one",
    "expires_at": "2031-01-02T03:04:05+01:00",
    "max_uses": 3,
    "allowed_networks": ["192.0.2.7/24", "2001:db8::/32"],
}
SHOWN = {
    "expires_at": "2031-01-02T02:04:05Z",
    "max_uses": 3,
    "uses": 0,
    "allowed_networks": ["192.0.2.0/24", "2001:db8::/32"],
}


def spec(*secrets, **members):
    return {"spec": {"secrets": list(secrets), **members}}


async def shown(ask, member, what="GET /spec/enroll_secret"):
    """Secret -> what is shown of it beside its age and team."""
    answer = await ask(member, what)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    found = body.get("spec", body)["secrets"]
    return {
        one["secret"]: {k: v for k, v in one.items() if k not in {"secret", "created_at", "team_id"}} for one in found
    }


def later(**time):
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


async def test_limits_are_stored_and_shown(ask, admin, database):
    answer = await ask(admin, "POST /spec/enroll_secret", spec(LIMITED, {"secret": "two"}))

    assert answer.status_code == 200
    assert await shown(ask, admin) == {"one": SHOWN, "two": {}}
    one, _ = sorted(await database.rows(EnrollSecret), key=lambda row: row.id)
    assert one.expires_at == datetime(2031, 1, 2, 2, 4, 5, tzinfo=UTC)


async def test_how_often_a_limited_secret_was_used_is_shown(ask, admin, database):
    await ask(admin, "POST /spec/enroll_secret", spec(LIMITED))
    [row] = await database.rows(EnrollSecret)
    await database.add(EnrollSecretUse(secret_id=row.id, uses=2, last_used_at=datetime.now(UTC)))

    assert (await shown(ask, admin))["one"] == SHOWN | {"uses": 2}


async def test_what_get_prints_can_be_applied_again(ask, admin):
    await ask(admin, "POST /spec/enroll_secret", spec(LIMITED))
    before = (await ask(admin, "GET /spec/enroll_secret")).json()

    await ask(admin, "POST /spec/enroll_secret", before)

    assert (await ask(admin, "GET /spec/enroll_secret")).json() == before


async def test_a_tool_that_knows_no_limits_lifts_none(ask, admin):
    await ask(admin, "POST /spec/enroll_secret", spec(LIMITED))

    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "one"}, {"secret": "two"}))

    assert await shown(ask, admin) == {"one": SHOWN, "two": {}}


async def test_null_and_an_empty_list_lift_limits(ask, admin):
    await ask(admin, "POST /spec/enroll_secret", spec(LIMITED))
    lifted = {"secret": "one", "expires_at": None, "max_uses": None, "allowed_networks": []}

    await ask(admin, "POST /spec/enroll_secret", spec(lifted))

    assert await shown(ask, admin) == {"one": {}}


async def test_a_teams_secrets_have_limits_by_every_road(ask, admin):
    made = await ask(admin, "POST /teams", {"name": "Servers", "secrets": [LIMITED]})
    team_id = made.json()["team"]["id"]
    assert await shown(ask, admin, f"GET /teams/{team_id}/secrets") == {"one": SHOWN}

    await ask(admin, f"PATCH /teams/{team_id}/secrets", {"secrets": [{"secret": "one", "max_uses": 9}]})
    assert await shown(ask, admin, f"GET /teams/{team_id}/secrets") == {"one": SHOWN | {"max_uses": 9}}

    team = {"name": "Servers", "secrets": [LIMITED | {"allowed_networks": None}]}
    applied = await ask(admin, "POST /spec/teams", {"specs": [team]})
    assert applied.status_code == 200
    unlimited = {name: value for name, value in SHOWN.items() if name != "allowed_networks"}
    assert await shown(ask, admin, f"GET /teams/{team_id}/secrets") == {"one": unlimited}
    assert (await ask(admin, f"GET /teams/{team_id}")).json()["team"]["secrets"][0]["max_uses"] == 3


async def test_who_may_not_see_a_secret_sees_no_limits_of_it(ask, admin, make_user):
    made = await ask(admin, "POST /teams", {"name": "Servers", "secrets": [LIMITED]})
    observer = await make_user("observer")

    found = await shown(ask, observer, f"GET /teams/{made.json()['team']['id']}/secrets")

    assert found == {"********": {}}


@pytest.mark.parametrize(
    ("limit", "status", "name"),
    [
        ({"expires_at": "tomorrow"}, 422, "expires_at"),
        ({"expires_at": "2031-01-02T03:04:05"}, 422, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, 422, "expires_at"),
        ({"expires_at": 5}, 400, "base"),
        ({"max_uses": 0}, 422, "max_uses"),
        ({"max_uses": -1}, 422, "max_uses"),
        ({"max_uses": 2**63}, 422, "max_uses"),
        ({"max_uses": True}, 400, "base"),
        ({"max_uses": "3"}, 400, "base"),
        ({"allowed_networks": ["here"]}, 422, "allowed_networks"),
        ({"allowed_networks": [""]}, 422, "allowed_networks"),
        ({"allowed_networks": ["192.0.2.0/33"]}, 422, "allowed_networks"),
        ({"allowed_networks": ["192.0.2.0/24"] * 65}, 422, "allowed_networks"),
        ({"allowed_networks": "192.0.2.0/24"}, 400, "base"),
    ],
)
async def test_limits_that_make_no_sense_change_nothing(ask, admin, news, limit, status, name):
    before = (await ask(admin, "GET /spec/enroll_secret")).json()

    for parameters in ({}, {"dry_run": "true"}):
        answer = await ask(admin, "POST /spec/enroll_secret", spec({"secret": "one"} | limit), **parameters)
        assert (answer.status_code, answer.json()["errors"][0]["name"]) == (status, name)

    assert (await ask(admin, "GET /spec/enroll_secret")).json() == before
    assert await news.events() == []


async def test_at_rotation_the_old_secret_stays_until_the_overlap_ends(ask, admin, database):
    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "old"}))
    [old] = await database.rows(EnrollSecret)
    end = later(days=1)

    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "new"}, overlap_until=end))

    assert set(await shown(ask, admin)) == {"old", "new"}
    kept, new = sorted(await database.rows(EnrollSecret), key=lambda row: row.id)
    assert (kept.id, kept.expires_at, new.expires_at) == (old.id, datetime.fromisoformat(end), None)


async def test_an_overlap_does_not_lengthen_a_secrets_own_life(ask, admin, database):
    soon = later(hours=1)
    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "old", "expires_at": soon}))

    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "new"}, overlap_until=later(days=1)))

    kept, _ = sorted(await database.rows(EnrollSecret), key=lambda row: row.id)
    assert kept.expires_at == datetime.fromisoformat(soon)


async def test_a_secret_left_out_without_an_overlap_stops_at_once(ask, admin):
    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "old"}))
    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "new"}, overlap_until=later(days=1)))

    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "new"}))

    assert set(await shown(ask, admin)) == {"new"}


@pytest.mark.parametrize("expired", [{"overlap": {"hours": -1}}, {"own": {"hours": -1}, "overlap": {"hours": 1}}])
async def test_nothing_is_kept_that_would_not_work_anyway(ask, admin, expired):
    old = {"secret": "old"} | ({"expires_at": later(**expired["own"])} if "own" in expired else {})
    await ask(admin, "POST /spec/enroll_secret", spec(old))

    await ask(admin, "POST /spec/enroll_secret", spec({"secret": "new"}, overlap_until=later(**expired["overlap"])))

    assert set(await shown(ask, admin)) == {"new"}


async def test_a_teams_secret_is_rotated_with_an_overlap(ask, admin):
    made = await ask(admin, "POST /teams", {"name": "Servers", "secrets": [{"secret": "old"}]})
    path = f"/teams/{made.json()['team']['id']}/secrets"

    answer = await ask(admin, f"PATCH {path}", {"secrets": [{"secret": "new"}], "overlap_until": later(days=1)})

    assert [one["secret"] for one in answer.json()["secrets"]] == ["old", "new"]
    assert set(await shown(ask, admin, f"GET {path}")) == {"old", "new"}


async def test_old_and_new_secrets_together_are_fifty_at_most(ask, admin):
    await ask(admin, "POST /spec/enroll_secret", spec(*({"secret": f"old {n}"} for n in range(30))))

    many = spec(*({"secret": f"new {n}"} for n in range(30)), overlap_until=later(days=1))
    answer = await ask(admin, "POST /spec/enroll_secret", many)

    assert answer.status_code == 422
    assert len(await shown(ask, admin)) == 30


@pytest.mark.parametrize(("until", "status"), [("soon", 422), (7, 400)])
async def test_an_overlap_that_makes_no_sense_changes_nothing(ask, admin, until, status):
    before = (await ask(admin, "GET /spec/enroll_secret")).json()

    answer = await ask(admin, "POST /spec/enroll_secret", spec({"secret": "new"}, overlap_until=until))

    assert answer.status_code == status
    assert (await ask(admin, "GET /spec/enroll_secret")).json() == before


@pytest.mark.parametrize(
    ("what", "body", "name"),
    [
        ("POST /spec/enroll_secret", spec({"secret": "x", "max_use": 1}), "spec.secrets.0.max_use"),
        (
            "POST /spec/enroll_secret",
            spec({"secret": "x"}, overlap_untill="2031-01-02T03:04:05Z"),
            "spec.overlap_untill",
        ),
        ("PATCH /teams/{}/secrets", {"secrets": [{"secret": "x", "expires": None}]}, "secrets.0.expires"),
        (
            "POST /teams",
            {"name": "New", "secrets": [{"secret": "x", "allowed_network": []}]},
            "secrets.0.allowed_network",
        ),
    ],
)
async def test_a_misspelt_limit_is_refused_and_nothing_changes(ask, admin, database, what, body, name):
    team_id = (await ask(admin, "POST /teams", {"name": "Desktops"})).json()["team"]["id"]
    before = await database.rows(EnrollSecret)
    answer = await ask(admin, what.format(team_id), body)

    assert answer.status_code == 400, answer.text
    assert name in [one["name"] for one in answer.json()["errors"]]
    assert await database.rows(EnrollSecret) == before


async def test_a_misspelt_limit_in_a_spec_of_a_team_is_refused(ask, admin):
    specs = {"specs": [{"name": "New", "secrets": [{"secret": "x", "max_use": 1}]}]}
    answer = await ask(admin, "POST /spec/teams", specs)

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (400, 'unsupported key provided: "max_use"')


@pytest.mark.parametrize(
    "what", ["POST /spec/enroll_secret", "PATCH /teams/{}/secrets", "POST /teams", "POST /spec/teams"]
)
async def test_what_fleets_clients_send_of_a_secret_is_accepted(ask, admin, what):
    team_id = (await ask(admin, "POST /teams", {"name": "Desktops"})).json()["team"]["id"]
    secret = {"secret": "x", "created_at": "2025-07-01T09:00:00Z", "team_id": 2, "max_uses": 3}
    body = {
        "POST /spec/enroll_secret": spec(secret),
        "POST /teams": {"name": "New", "secrets": [secret]},
        "POST /spec/teams": {"specs": [{"name": "New", "secrets": [secret]}]},
    }.get(what, {"secrets": [secret]})
    answer = await ask(admin, what.format(team_id), body)

    assert answer.status_code == 200, answer.text
