"""A team's agent options."""

from __future__ import annotations

import pytest
from flotilla_common.db.models.admin_api import Team
from sqlalchemy import select
from sqlmodel import col

OPTIONS = {"config": {"options": {"distributed_interval": 5}}, "overrides": {"platforms": {"darwin": {"options": {}}}}}


async def has_document(database) -> bool:
    """Whether the one team has a document; JSON null is one."""
    async with database.sessions()() as session:
        return bool(await session.scalar(select(col(Team.agent_options).is_not(None))))


async def test_the_whole_body_is_the_document(ask, admin, make_team, news):
    team_id = await make_team("Servers")

    answer = await ask(admin, f"POST /teams/{team_id}/agent_options", OPTIONS)

    assert answer.json()["team"]["agent_options"] == OPTIONS
    assert (await ask(admin, f"GET /teams/{team_id}")).json()["team"]["agent_options"] == OPTIONS
    assert await news.events() == [("agent_options_changed", {"team_id": team_id})]
    details = {"global": False, "team_id": team_id, "team_name": "Servers"}
    assert await news.activities() == [("edited_agent_options", details)]


async def test_null_is_a_document_that_says_nothing(client, admin, make_team, database):
    team_id = await make_team("Servers")

    answer = await client.post(
        f"/api/latest/fleet/teams/{team_id}/agent_options", headers=admin.headers, content=b"null"
    )

    assert answer.status_code == 200
    assert answer.json()["team"]["agent_options"] is None
    assert await has_document(database)


async def test_a_spec_clears_a_document_of_null(client, ask, admin, make_team, database):
    team_id = await make_team("Servers")
    await client.post(f"/api/latest/fleet/teams/{team_id}/agent_options", headers=admin.headers, content=b"null")

    await ask(admin, "POST /spec/teams", {"specs": [{"name": "Servers", "agent_options": None}]})

    assert not await has_document(database)


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), (0, False), (1, 1.0)])
async def test_a_value_that_python_takes_for_equal_is_stored(ask, admin, make_team, before, after):
    team_id = await make_team("Servers")
    await ask(admin, f"POST /teams/{team_id}/agent_options", {"config": {"views": {"a": before}}})

    await ask(admin, f"POST /teams/{team_id}/agent_options", {"config": {"views": {"a": after}}})

    stored = (await ask(admin, f"GET /teams/{team_id}")).json()["team"]["agent_options"]["config"]["views"]["a"]
    assert (type(stored), stored) == (type(after), after)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"distributed_interval": 5}, '"distributed_interval" should be part of the "config.options" object'),
        ({"config": {"nope": 1}}, 'common config: unsupported key provided: "nope"'),
        (
            {"config": {"options": {"distributed_interval": "5"}}},
            "common config: invalid value type at 'options.distributed_interval': expected uint but got string",
        ),
        (
            {"config": {"options": {"logger_tls_endpoint": "log"}}},
            "common config: options.logger_tls_endpoint must be a path starting with '/': \"log\"",
        ),
        ({"overrides": {"platforms": {"darwin": None}}}, "darwin platform config: must not be null"),
        ({"overrides": {"platforms": {"darwin": {"x": 1}}}}, 'darwin platform config: unsupported key provided: "x"'),
        (
            {"command_line_flags": {"database_path": "/x"}},
            "The --database_path flag isn't supported. Please remove this flag.",
        ),
        ({"command_line_flags": {"nope": 1}}, 'command-line flags: unsupported key provided: "nope"'),
        ({"script_execution_timeout": 3601}, "'script_execution_timeout' must be at most 3600 seconds"),
        ({"update_channels": {"orbit": ""}}, "update_channels.orbit must not be empty"),
        ({"extensions": {"a": {"labels": ["Nobody"]}}}, 'extensions.a: label "Nobody" does not exist'),
    ],
)
async def test_a_bad_document_is_refused_with_a_hint_and_stored_by_force(ask, admin, make_team, news, document, reason):
    team_id = await make_team("Servers")

    refused = await ask(admin, f"POST /teams/{team_id}/agent_options", document)
    unchanged = (await ask(admin, f"GET /teams/{team_id}")).json()["team"]["agent_options"]
    forced = await ask(admin, f"POST /teams/{team_id}/agent_options", document, force="true")

    assert (refused.status_code, refused.json()["message"]) == (400, "Bad Request")
    assert refused.json()["errors"][0]["reason"] == reason
    assert unchanged == {}
    assert forced.json()["team"]["agent_options"] == document


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5"])
async def test_a_body_that_is_no_object_is_malformed(client, admin, make_team, body):
    team_id = await make_team("Servers")

    for force in ("false", "true"):
        url = f"/api/latest/fleet/teams/{team_id}/agent_options?force={force}"
        assert (await client.post(url, headers=admin.headers, content=body)).status_code == 400


async def test_a_dry_run_changes_nothing(ask, admin, make_team, news):
    team_id = await make_team("Servers")

    good = await ask(admin, f"POST /teams/{team_id}/agent_options", OPTIONS, dry_run="true")
    bad = await ask(admin, f"POST /teams/{team_id}/agent_options", {"nope": 1}, dry_run="true")

    assert (good.status_code, bad.status_code) == (200, 400)
    assert good.json()["team"]["agent_options"] == {}
    assert await news.events() == []


async def test_null_takes_an_override_away_where_layers_are_merged(ask, admin, make_team):
    team_id = await make_team("Servers")
    await ask(admin, f"PATCH /teams/{team_id}", {"merge_mode": "merge"})
    document = {"config": {"options": {"distributed_interval": None}}, "overrides": {"platforms": {"darwin": None}}}

    answer = await ask(admin, f"POST /teams/{team_id}/agent_options", document)

    assert answer.status_code == 200, answer.text
    assert answer.json()["team"]["agent_options"] == document


async def test_an_unknown_team_is_missing(ask, admin):
    assert (await ask(admin, "POST /teams/99/agent_options", {})).status_code == 404


@pytest.mark.parametrize(
    ("role", "own", "status"),
    [
        ("maintainer", None, 403),
        ("observer", None, 403),
        ("gitops", None, 200),
        ("admin", True, 200),
        ("gitops", True, 200),
        ("maintainer", True, 403),
        ("observer", True, 403),
        ("admin", False, 403),
    ],
)
async def test_who_may_set_them(ask, make_team, make_user, role, own, status):
    team_id, other_id = await make_team("Servers"), await make_team("Laptops")
    member = await make_user(role, {None: None, True: team_id, False: other_id}[own], api_only=role == "gitops")

    assert (await ask(member, f"POST /teams/{team_id}/agent_options", OPTIONS)).status_code == status
