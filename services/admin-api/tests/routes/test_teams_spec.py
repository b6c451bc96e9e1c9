"""Team specs: what is left out stays, what is null is cleared, what is given replaces."""

from __future__ import annotations

import pytest
from flotilla_common.db.models.admin_api import Team
from sqlalchemy import select
from sqlmodel import col

OPTIONS = {"config": {"options": {"distributed_interval": 5}}}


async def apply(ask, member, *specs, **parameters):
    return await ask(member, "POST /spec/teams", {"specs": list(specs)}, **parameters)


async def team_named(ask, admin, name):
    found = (await ask(admin, "GET /teams")).json()["teams"]
    return next((team for team in found if team["name"] == name), None)


async def test_a_spec_of_an_unknown_name_makes_a_team(ask, admin, news):
    spec = {
        "name": "Servers",
        "agent_options": OPTIONS,
        "secrets": [{"secret": "one"}],
        "features": {"enable_host_users": False},
        "merge_mode": "merge",
        "host_expiry_settings": {"host_expiry_enabled": True, "host_expiry_window": 3},
    }

    answer = await apply(ask, admin, spec)

    team = await team_named(ask, admin, "Servers")
    assert answer.json() == {"team_ids_by_name": {"Servers": team["id"]}}
    assert team["agent_options"] == OPTIONS
    assert team["merge_mode"] == "merge"
    assert [secret["secret"] for secret in team["secrets"]] == ["one"]
    assert team["features"] == {"enable_host_users": False, "enable_software_inventory": True}
    assert team["host_expiry_settings"]["host_expiry_window"] == 3
    events = await news.events()
    assert ("team_changed", {"team_id": team["id"], "deleted": False}) in events
    assert ("agent_options_changed", {"team_id": team["id"]}) in events
    assert ("applied_spec_team", {"teams": [{"id": team["id"], "name": "Servers"}]}) in await news.activities()


async def test_a_bare_new_team_starts_like_any_other(ask, admin):
    config = (await ask(admin, "GET /config")).json()

    await apply(ask, admin, {"name": "Servers"})

    team = await team_named(ask, admin, "Servers")
    assert team["agent_options"] == config["agent_options"]
    assert len(team["secrets"]) == 1


async def test_what_a_spec_leaves_out_stays(ask, admin):
    hooks = {"failing_policies_webhook": {"destination_url": "https://h", "host_batch_size": 5}}
    filled = {"agent_options": OPTIONS, "secrets": [{"secret": "one"}], "webhook_settings": hooks, "scripts": ["a.sh"]}
    await apply(ask, admin, {"name": "Servers", "features": {"enable_host_users": False}, **filled})
    before = await team_named(ask, admin, "Servers")

    await apply(ask, admin, {"name": "SERVERS", "secrets": None, "features": None, "webhook_settings": {}})

    assert await team_named(ask, admin, "SERVERS") == {**before, "name": "SERVERS"}


async def test_features_are_reset_by_overwrite(ask, admin):
    await apply(ask, admin, {"name": "Servers", "features": {"enable_host_users": False}})

    await apply(ask, admin, {"name": "Servers"}, overwrite="true")

    assert (await team_named(ask, admin, "Servers"))["features"]["enable_host_users"] is True


async def test_null_agent_options_leave_the_team_without_a_document(ask, admin, database, news):
    await apply(ask, admin, {"name": "Servers", "agent_options": OPTIONS})
    await news.events()

    await apply(ask, admin, {"name": "Servers", "agent_options": None})

    async with database.sessions()() as session:
        assert await session.scalar(select(col(Team.agent_options).is_(None)))
    team = await team_named(ask, admin, "Servers")
    assert ("agent_options_changed", {"team_id": team["id"]}) in await news.events()


async def test_an_empty_list_removes_all_secrets(ask, admin):
    await apply(ask, admin, {"name": "Servers", "secrets": [{"secret": "one"}]})

    await apply(ask, admin, {"name": "Servers", "secrets": []})

    assert (await team_named(ask, admin, "Servers"))["secrets"] == []


async def test_a_file_that_owns_a_team_renames_it(ask, admin):
    first = await apply(ask, admin, {"name": "Servers", "gitops_filename": "servers.yml"})

    second = await apply(ask, admin, {"name": "Racks", "gitops_filename": "servers.yml"})

    assert second.json()["team_ids_by_name"] == {"Racks": first.json()["team_ids_by_name"]["Servers"]}


async def test_a_file_cannot_rename_its_team_to_the_name_of_another(ask, admin):
    await apply(ask, admin, {"name": "Servers", "gitops_filename": "servers.yml"}, {"name": "Racks"})

    answer = await apply(ask, admin, {"name": "Racks", "gitops_filename": "servers.yml"})

    assert answer.status_code == 409


async def test_a_dry_run_says_what_would_be_and_does_nothing(ask, admin, news):
    await apply(ask, admin, {"name": "Servers"})
    before = await team_named(ask, admin, "Servers")
    await news.events()
    await news.activities()

    answer = await apply(ask, admin, {"name": "Servers", "secrets": []}, {"name": "New"}, dry_run="true")

    assert answer.json() == {"team_ids_by_name": {"Servers": before["id"], "New": 0}}
    assert (await ask(admin, "GET /teams")).json()["teams"] == [before]
    assert await news.events() == []
    assert await news.activities() == []


@pytest.mark.parametrize("dry_run", ["true", "false"])
@pytest.mark.parametrize(
    ("spec", "status", "reason"),
    [
        ({}, 422, "missing required argument"),
        ({"name": None}, 422, "missing required argument"),
        ({"name": "No team"}, 422, '"No team" is a reserved team name'),
        ({"name": "A", "nope": 1}, 400, 'unsupported key provided: "nope"'),
        ({"name": "A", "features": {"nope": 1}}, 400, 'unsupported key provided: "nope"'),
        ({"name": 5}, 400, "invalid value type at 'name': expected string but got number"),
        ({"name": "A", "agent_options": {"nope": 1}}, 400, 'unsupported key provided: "nope"'),
        ({"name": "A", "agent_options": "x"}, 400, None),
        ({"name": "A", "secrets": [{"secret": ""}]}, 422, "enroll secret must not be empty"),
        ({"name": "A", "host_expiry_settings": {"host_expiry_enabled": True}}, 422, "must be greater than 0"),
        ({"name": "A", "mdm": {"enable_disk_encryption": True}}, 422, None),
        ({"name": "A", "merge_mode": "mix"}, 422, 'must be "replace" or "merge"'),
    ],
)
async def test_one_bad_spec_and_none_is_applied(ask, admin, news, spec, status, reason, dry_run):
    answer = await apply(ask, admin, {"name": "Good"}, spec, dry_run=dry_run)

    assert answer.status_code == status
    assert reason is None or answer.json()["errors"][0]["reason"] == reason
    assert (await ask(admin, "GET /teams")).json() == {"teams": []}
    assert await news.events() == []


@pytest.mark.parametrize("body", [{}, {"specs": []}, {"specs": None}, {"specs": [1]}, {"specs": [], "nope": 1}, []])
async def test_a_body_without_specs_is_malformed(ask, admin, body):
    assert (await ask(admin, "POST /spec/teams", body)).status_code == 400


async def test_force_skips_the_rules_of_agent_options(ask, admin):
    await apply(ask, admin, {"name": "Servers", "agent_options": {"nope": 1}}, force="true")

    assert (await team_named(ask, admin, "Servers"))["agent_options"] == {"nope": 1}


@pytest.mark.parametrize(
    ("role", "own", "changes", "makes"),
    [
        ("maintainer", None, 403, 403),
        ("observer", None, 403, 403),
        ("gitops", None, 200, 200),
        ("admin", True, 200, 403),
        ("gitops", True, 200, 403),
        ("maintainer", True, 403, 403),
        ("observer", True, 403, 403),
        ("admin", False, 403, 403),
    ],
)
async def test_who_may_apply_specs(ask, make_team, make_user, role, own, changes, makes):
    team_id, other_id = await make_team("Servers"), await make_team("Laptops")
    member = await make_user(role, {None: None, True: team_id, False: other_id}[own], api_only=role == "gitops")

    statuses = [(await apply(ask, member, {"name": name})).status_code for name in ("Servers", "New")]

    assert statuses == [changes, makes]
