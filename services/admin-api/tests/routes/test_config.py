"""The app config: what is shown to whom, and what a patch does."""

from __future__ import annotations

import pytest
from flotilla_common.db.models.admin_api import AppConfig

HOOK = {"enable_activities_webhook": True, "destination_url": "https://hooks.acme.test/a"}


async def test_a_new_installation_has_the_documented_config(ask, admin):
    config = (await ask(admin, "GET /config")).json()

    assert config["org_info"] == {
        "org_name": "Acme",
        "org_logo_url": "",
        "org_logo_url_light_background": "",
        "contact_url": "https://fleetdm.com/company/contact",
    }
    assert config["server_settings"]["server_url"] == "https://fleet.acme.test"
    assert config["agent_options"]["config"]["options"]["distributed_interval"] == 10
    assert config["agent_options"]["overrides"] == {}
    assert config["webhook_settings"]["interval"] == "24h0m0s"
    assert config["license"]["tier"] == "premium"
    assert config["update_interval"]["osquery_detail"] == 3_600_000_000_000
    assert config["mdm"]["enabled_and_configured"] is False
    assert "additional_queries" not in config["features"]


@pytest.mark.parametrize(
    ("role", "of_a_team", "sees_options", "sees_mail"),
    [
        ("admin", False, True, True),
        ("maintainer", False, False, False),
        ("observer", False, False, False),
        ("gitops", False, False, False),
        ("admin", True, False, True),
        ("observer", True, False, False),
    ],
)
async def test_what_is_for_admins_is_null_for_others(
    ask, make_team, make_user, role, of_a_team, sees_options, sees_mail
):
    member = await make_user(role, await make_team("Servers") if of_a_team else None, api_only=role == "gitops")

    config = (await ask(member, "GET /config")).json()

    assert (config["agent_options"] is not None) is sees_options
    assert (config["smtp_settings"] is not None) is sees_mail
    assert (config["sso_settings"] is not None) is sees_mail
    assert config["org_info"]["org_name"] == "Acme"


async def test_what_get_answers_patch_accepts_and_changes_nothing(ask, admin, news):
    before = (await ask(admin, "GET /config")).json()

    answer = await ask(admin, "PATCH /config", before)

    assert answer.status_code == 200, answer.text
    assert (await ask(admin, "GET /config")).json() == before
    assert await news.events() == []
    assert await news.activities() == []


async def test_a_filled_config_makes_the_round_trip_too(ask, admin):
    filled = {
        "features": {"additional_queries": {"uptime": "SELECT 1"}, "detail_query_overrides": {"users": None}},
        "smtp_settings": {"password": "pass-word"},
        "integrations": {"jira": [{"url": "https://j", "project_key": "A", "api_token": "tok-en"}]},
        "server_settings": {"debug_host_ids": [1, 2]},
        "yara_rules": [{"name": "a"}],
        "webhook_settings": {"activities_webhook": HOOK, "interval": 5_400_000_000_000},
    }
    await ask(admin, "PATCH /config", filled)
    before = (await ask(admin, "GET /config")).json()

    answer = await ask(admin, "PATCH /config", before)

    assert answer.status_code == 200, answer.text
    assert (await ask(admin, "GET /config")).json() == before
    assert before["webhook_settings"]["interval"] == "1h30m0s"


async def test_a_patch_merges_objects_and_replaces_the_rest(ask, admin, news):
    patch = {
        "ORG_info": {"Org_Name": "Acme Two"},
        "server_settings": {"query_reports_disabled": True},
        "agent_options": {"config": {"options": {"distributed_interval": 5}}},
    }

    answer = await ask(admin, "PATCH /config", patch)

    config = answer.json()
    assert config["org_info"]["org_name"] == "Acme Two"
    assert config["org_info"]["contact_url"] == "https://fleetdm.com/company/contact"
    assert config["server_settings"]["server_url"] == "https://fleet.acme.test"
    assert config["agent_options"] == patch["agent_options"]
    assert "license" not in config
    assert await news.events() == [("app_config_changed", {}), ("agent_options_changed", {"team_id": None})]
    assert await news.activities() == [("edited_agent_options", {"global": True, "team_id": None, "team_name": None})]


async def test_null_clears_the_agent_options(ask, admin, database, news):
    answer = await ask(admin, "PATCH /config", {"agent_options": None})

    [row] = await database.rows(AppConfig)
    assert answer.json()["agent_options"] is None
    assert row.agent_options is None
    assert await news.events() == [("agent_options_changed", {"team_id": None})]


async def test_true_in_the_place_of_one_is_a_change(ask, admin, database, news):
    await ask(admin, "PATCH /config", {"agent_options": {"a": 1}, "yara_rules": [{"a": 1}]}, force="true")
    await news.events()

    await ask(admin, "PATCH /config", {"agent_options": {"a": True}, "yara_rules": [{"a": True}]}, force="true")

    [row] = await database.rows(AppConfig)
    assert row.agent_options["a"] is True
    assert row.document["yara_rules"][0]["a"] is True
    assert await news.events() == [("app_config_changed", {}), ("agent_options_changed", {"team_id": None})]


async def test_features_of_peoples_own_are_replaced_as_a_whole(ask, admin):
    await ask(admin, "PATCH /config", {"features": {"additional_queries": {"a": "SELECT 1", "b": "SELECT 2"}}})

    answer = await ask(admin, "PATCH /config", {"features": {"additional_queries": {"c": "SELECT 3"}}})

    assert answer.json()["features"]["additional_queries"] == {"c": "SELECT 3"}
    assert answer.json()["features"]["enable_host_users"] is True


async def test_overwrite_resets_the_blocks_that_are_not_given(ask, admin):
    await ask(admin, "PATCH /config", {"features": {"enable_host_users": False}, "sso_settings": {"idp_name": "Idp"}})

    answer = await ask(admin, "PATCH /config", {"org_info": {"org_name": "B"}}, overwrite="true")

    assert answer.json()["features"]["enable_host_users"] is True
    assert answer.json()["sso_settings"]["idp_name"] == ""


async def test_a_dry_run_changes_nothing(ask, admin, news):
    before = (await ask(admin, "GET /config")).json()
    patch = {"org_info": {"org_name": "Other"}, "agent_options": None}

    answer = await ask(admin, "PATCH /config", patch, dry_run="true")

    assert answer.status_code == 200
    assert answer.json()["org_info"]["org_name"] == "Acme"
    assert (await ask(admin, "GET /config")).json() == before
    assert await news.events() == []


async def test_stored_secrets_are_masked_and_a_mask_keeps_them(ask, admin, database):
    jira = {"url": "https://j", "project_key": "A", "api_token": "tok-en"}
    await ask(admin, "PATCH /config", {"smtp_settings": {"password": "pass-word"}, "integrations": {"jira": [jira]}})

    answer = await ask(admin, "GET /config")
    await ask(admin, "PATCH /config", answer.json())

    [row] = await database.rows(AppConfig)
    assert "pass-word" not in answer.text
    assert "tok-en" not in answer.text
    assert row.document["smtp_settings"]["password"] == "pass-word"
    assert row.document["integrations"]["jira"] == [jira]


SECRET_INTEGRATIONS = {
    "jira": [{"url": "https://j", "project_key": "A", "api_token": "secret-1"}],
    "zendesk": [{"url": "https://z", "group_id": 1, "API_Token": "secret-2"}],
    "google_calendar": [{"domain": "acme.test", "api_key_json": {"private_key": "secret-3"}}],
    "digicert": [{"name": "One", "api_token": "secret-4"}, {"name": "Two", "api_token": "secret-5"}],
    "ndes_scep_proxy": {"url": "https://n", "username": "u", "password": "secret-6"},
    "custom_scep_proxy": [{"name": "WIFI", "url": "https://s", "challenge": "secret-7"}],
}


async def test_nobody_is_shown_the_secret_of_an_integration(ask, admin, make_user):
    patched = await ask(admin, "PATCH /config", {"integrations": SECRET_INTEGRATIONS})

    shown = [await ask(member, "GET /config") for member in (admin, await make_user("observer"))]

    assert [answer.status_code for answer in (patched, *shown)] == [200] * 3
    assert ["secret-" in answer.text for answer in (patched, *shown)] == [False] * 3
    assert [item["name"] for item in shown[1].json()["integrations"]["digicert"]] == ["One", "Two"]
    assert shown[1].json()["integrations"]["ndes_scep_proxy"]["password"] == "********"


async def test_masked_secrets_of_integrations_are_kept_in_whatever_order_they_come_back(ask, admin, database):
    await ask(admin, "PATCH /config", {"integrations": SECRET_INTEGRATIONS})
    shown = (await ask(admin, "GET /config")).json()["integrations"]
    shown["digicert"].reverse()
    shown["ndes_scep_proxy"]["username"] = "v"

    answer = await ask(admin, "PATCH /config", {"integrations": shown})

    [row] = await database.rows(AppConfig)
    stored = row.document["integrations"]
    assert answer.status_code == 200, answer.text
    assert stored["digicert"] == SECRET_INTEGRATIONS["digicert"][::-1]
    assert stored["ndes_scep_proxy"] == {**SECRET_INTEGRATIONS["ndes_scep_proxy"], "username": "v"}
    unchanged = ("jira", "zendesk", "google_calendar", "custom_scep_proxy")
    assert {name: stored[name] for name in unchanged} == {name: SECRET_INTEGRATIONS[name] for name in unchanged}


@pytest.mark.parametrize(
    "integrations",
    [
        {"digicert": [{"name": "New", "api_token": "********"}]},
        {"ndes_scep_proxy": {"password": "********"}},
        {"custom_scep_proxy": [{"name": "New", "challenge": "********"}]},
    ],
)
async def test_a_mask_without_a_stored_secret_is_refused(ask, admin, integrations):
    answer = await ask(admin, "PATCH /config", {"integrations": integrations})

    assert answer.status_code == 422
    assert "is masked, but nothing is stored for it" in answer.json()["errors"][0]["reason"]


async def test_switching_the_activities_webhook_is_recorded(ask, admin, news):
    for hook in (HOOK, HOOK | {"destination_url": "https://b"}, {"enable_activities_webhook": False}):
        await ask(admin, "PATCH /config", {"webhook_settings": {"activities_webhook": hook}})

    assert await news.activities() == [
        ("enabled_activity_automations", {"webhook_url": "https://hooks.acme.test/a"}),
        ("edited_activity_automations", {"webhook_url": "https://b"}),
        ("disabled_activity_automations", None),
    ]


async def test_switching_gitops_mode_is_recorded(ask, admin, news):
    await ask(admin, "PATCH /config", {"gitops": {"gitops_mode_enabled": True, "repository_url": "https://git"}})
    await ask(admin, "PATCH /config", {"gitops": {"gitops_mode_enabled": False}})

    assert await news.activities() == [("enabled_gitops_mode", None), ("disabled_gitops_mode", None)]


@pytest.mark.parametrize(
    ("patch", "status", "reason"),
    [
        ({"nope": 1}, 400, 'unsupported key provided: "nope"'),
        ({"org_info": {"nope": 1}}, 400, 'unsupported key provided: "nope"'),
        (
            {"server_settings": {"live_query_disabled": "yes"}},
            400,
            "invalid value type at 'server_settings.live_query_disabled': expected bool but got string",
        ),
        ({"agent_options": {"nope": 1}}, 400, 'unsupported key provided: "nope"'),
        ({"agent_options": []}, 400, "invalid value type at 'agent_options': expected object but got array"),
        ({"org_info": {"org_name": " "}}, 422, "organization name must be present"),
        ({"server_settings": {"server_url": "acme"}}, 422, "must be an http(s) URL with a host"),
        ({"server_settings": {"server_url": "https://[::1"}}, 422, "must be an http(s) URL with a host"),
        ({"host_expiry_settings": {"host_expiry_enabled": True}}, 422, "must be greater than 0"),
        ({"activity_expiry_settings": {"activity_expiry_enabled": True}}, 422, "must be greater than 0"),
        (
            {"webhook_settings": {"activities_webhook": {"enable_activities_webhook": True}}},
            422,
            "must be an http(s) URL with a host",
        ),
        ({"webhook_settings": {"interval": "soon"}}, 400, None),
        ({"gitops": {"gitops_mode_enabled": True}}, 422, None),
        (
            {"mdm": {"macos_settings": {"custom_settings": [{"path": "a"}]}}},
            422,
            "Couldn't update macos_settings because MDM features aren't turned on in Fleet.",
        ),
        (
            {"integrations": {"jira": [{"url": "https://j", "project_key": "A", "api_token": "********"}]}},
            422,
            "api_token is masked, but nothing is stored for it",
        ),
    ],
)
async def test_a_patch_that_makes_no_sense_changes_nothing(ask, admin, news, patch, status, reason):
    before = (await ask(admin, "GET /config")).json()

    answer = await ask(admin, "PATCH /config", {"scripts": ["a.sh"], **patch})

    assert answer.status_code == status
    assert reason is None or answer.json()["errors"][0]["reason"] == reason
    assert (await ask(admin, "GET /config")).json() == before
    assert await news.events() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
async def test_a_body_that_is_no_object_is_malformed(client, admin, body):
    answer = await client.patch("/api/v1/fleet/config", headers=admin.headers, content=body)

    assert answer.status_code == 400
    assert answer.json()["message"] in {"Expected JSON Body", "json decoder error"}


async def test_what_is_nested_without_end_is_refused_even_by_force(client, admin):
    deep = b'{"agent_options": {"config": {"schedule": ' + b'{"a": ' * 100 + b"1" + b"}" * 100 + b"}}}"

    answer = await client.patch("/api/v1/fleet/config?force=true", headers=admin.headers, content=deep)

    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (400, "nested deeper than 64 levels")


async def test_force_stores_agent_options_that_are_not_known(ask, admin):
    answer = await ask(admin, "PATCH /config", {"agent_options": {"nope": {"a": 1}}}, force="true")

    assert answer.json()["agent_options"] == {"nope": {"a": 1}}


@pytest.mark.parametrize("role", ["maintainer", "observer", "observer_plus"])
async def test_others_than_admins_change_nothing(ask, admin, make_user, role):
    answer = await ask(await make_user(role), "PATCH /config", {"org_info": {"org_name": "Mine"}})

    assert (answer.status_code, answer.json()["message"]) == (403, "forbidden")
    assert (await ask(admin, "GET /config")).json()["org_info"]["org_name"] == "Acme"


async def test_a_gitops_user_patches_what_a_gitops_file_says(ask, make_user):
    robot = await make_user("gitops", api_only=True)
    patch = {
        "org_info": {"org_name": "Acme"},
        "integrations": {"jira": [], "zendesk": [], "google_calendar": []},
        "mdm": {"apple_business_manager": [], "macos_updates": {"deadline": None}, "volume_purchasing_program": None},
    }

    answer = await ask(robot, "PATCH /config", patch, overwrite="true")

    assert answer.status_code == 200
    assert answer.json()["agent_options"] is None
