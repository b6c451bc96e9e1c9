"""An edit reaches the bucket, touches no other class, and twice is once."""

import asyncio
from datetime import timedelta

import pytest
from config_merger.consumers import (
    answer_render_plan,
    on_agent_options_changed,
    on_app_config_changed,
    on_label_changed,
    on_query_changed,
    on_team_changed,
)
from config_merger.consumers.touched import announce_changed
from config_merger.domain.plans import CONFIG_LIMIT
from config_merger.store import plan_heads
from flotilla_common.contracts.definitions import (
    AgentOptionsChangedV1,
    AppConfigChangedV1,
    LabelChangedV1,
    QueryChangedV1,
    TeamChangedV1,
)
from flotilla_common.contracts.plans import RenderPlanV1
from flotilla_common.db.models.admin_api import Query, Team
from flotilla_common.db.models.config_merger import Plan
from flotilla_common.errors import Unavailable
from flotilla_common.testing import eventually
from sqlalchemy import JSON


def options(interval):
    return {"config": {"options": {"distributed_interval": interval}}}


@pytest.fixture
def render(deps):
    async def call(team_id=None, platform="ubuntu", scope_labels=()):
        request = RenderPlanV1(team_id=team_id, platform=platform, scope_labels=scope_labels)
        return await answer_render_plan.answer(request, deps)

    return call


@pytest.fixture
async def classes(definitions, render):
    """Heads of a host of no team, of a `replace` team and of a `merge` team."""
    await definitions.installation(options(10))
    replace = await definitions.team("replace", options(20))
    merge = await definitions.team("merge", {"config": {"options": {"verbose": True}}}, "merge")
    return {"none": await render(), "replace": await render(replace), "merge": await render(merge)}


async def test_an_edit_of_global_options_reaches_all_who_inherit_them(running, definitions, classes, admin, held):
    await definitions.installation(options(99))
    await admin.publish(AgentOptionsChangedV1(team_id=None))

    async def arrived():
        _, none = await held(classes["none"].class_key)
        _, merge = await held(classes["merge"].class_key)
        return none["options"] == {"distributed_interval": 99} and merge["options"] == {
            "distributed_interval": 99,
            "verbose": True,
        }

    assert await eventually(arrived, timeout=5)
    assert (await held(classes["replace"].class_key))[0] == classes["replace"]


async def test_an_edit_of_a_teams_options_reaches_its_classes_alone(deps, definitions, classes, held, clock):
    clock.now += timedelta(seconds=1)
    team_id = classes["replace"].team_id
    await definitions.set_team_options(team_id, options(21))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=team_id), deps)

    head, config = await held(classes["replace"].class_key)
    assert config == options(21)["config"]
    assert head.revision > classes["replace"].revision
    assert head.etag != classes["replace"].etag
    assert (await held(classes["merge"].class_key))[0] == classes["merge"]


async def test_json_null_as_a_teams_options_is_an_empty_config(deps, definitions, classes, held):
    team_id = classes["replace"].team_id
    await definitions.set_team_options(team_id, JSON.NULL)
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=team_id), deps)

    assert (await held(classes["replace"].class_key))[1] == {}


async def test_a_repeated_event_changes_nothing(deps, definitions, classes, database):
    await definitions.installation(options(99))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)
    once = {plan.class_key: plan.revision for plan in await database.rows(Plan)}
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    assert {plan.class_key: plan.revision for plan in await database.rows(Plan)} == once


async def test_a_query_with_labels_goes_to_the_classes_that_have_one_of_them(deps, definitions, render, held):
    inside, outside = await render(scope_labels=(101,)), await render()
    query_id = await definitions.query("scoped", labels=(101, 102))
    await on_query_changed.handle(QueryChangedV1(query_id=query_id, team_id=None), deps)

    assert list((await held(inside.class_key))[1]["packs"]["Global"]["queries"]) == ["scoped"]
    assert "packs" not in (await held(outside.class_key))[1]

    await definitions.remove(Query, query_id)
    await on_query_changed.handle(QueryChangedV1(query_id=query_id, team_id=None, deleted=True), deps)
    assert "packs" not in (await held(inside.class_key))[1]


async def test_a_teams_query_goes_to_its_classes_alone(deps, definitions, classes, held):
    team_id = classes["merge"].team_id
    query_id = await definitions.query("theirs", team_id=team_id)
    await on_query_changed.handle(QueryChangedV1(query_id=query_id, team_id=team_id), deps)

    assert set((await held(classes["merge"].class_key))[1]["packs"]) == {f"team-{team_id}"}
    assert "packs" not in (await held(classes["replace"].class_key))[1]


async def test_switching_reports_off_unschedules_what_feeds_only_reports(deps, definitions, render, held):
    await definitions.query("report only")
    head = await render()
    assert "packs" in (await held(head.class_key))[1]

    await definitions.installation(options(10), query_reports_disabled=True)
    await on_app_config_changed.handle(AppConfigChangedV1(), deps)

    assert "packs" not in (await held(head.class_key))[1]


async def test_a_deleted_label_compiles_again_and_a_changed_one_does_not(deps, definitions, classes, database):
    await definitions.installation(options(99))
    before = {plan.class_key: plan.revision for plan in await database.rows(Plan)}

    await on_label_changed.handle(LabelChangedV1(label_id=101), deps)
    assert {plan.class_key: plan.revision for plan in await database.rows(Plan)} == before

    await on_label_changed.handle(LabelChangedV1(label_id=101, deleted=True), deps)
    assert {plan.class_key: plan.revision for plan in await database.rows(Plan)} != before


async def test_a_change_of_merge_mode_compiles_the_team_again(deps, database, classes, held):
    async with database.sessions().begin() as session:
        team = await session.get(Team, classes["replace"].team_id)
        team.merge_mode = "merge"
        team.agent_options = {"config": {"options": {"verbose": True}}}
    await on_team_changed.handle(TeamChangedV1(team_id=classes["replace"].team_id), deps)

    assert (await held(classes["replace"].class_key))[1]["options"] == {"distributed_interval": 10, "verbose": True}


async def test_a_deleted_teams_classes_are_removed_once_and_twice(deps, definitions, classes, held, database):
    team_id = classes["replace"].team_id
    await definitions.remove(Team, team_id)
    for _ in range(2):
        await on_team_changed.handle(TeamChangedV1(team_id=team_id, deleted=True), deps)

    assert await held(classes["replace"].class_key) is None
    assert team_id not in {plan.team_id for plan in await database.rows(Plan)}


async def test_a_config_that_grows_above_the_limit_leaves_the_one_before(deps, definitions, classes, held):
    await definitions.installation({"config": {"options": {"a": "x" * CONFIG_LIMIT}}})
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    assert (await held(classes["none"].class_key))[0] == classes["none"]


async def test_what_an_outage_of_the_bucket_left_behind_is_announced_by_the_redelivery(
    deps, definitions, classes, held, monkeypatch
):
    async def fail(*_arguments):
        raise Unavailable("bucket")

    await definitions.installation(options(99))
    with monkeypatch.context() as patched:
        patched.setattr(plan_heads, "announce", fail)
        with pytest.raises(Unavailable):
            await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)
    assert (await held(classes["none"].class_key))[0] == classes["none"]

    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    assert (await held(classes["none"].class_key))[1] == options(99)["config"]


async def test_an_older_head_never_replaces_a_newer_one(deps, definitions, classes, held, clock):
    older = classes["none"]
    clock.now += timedelta(seconds=1)
    await definitions.installation(options(99))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    await plan_heads.announce(deps.bucket, older, b"{}")

    assert (await held(older.class_key))[1] == options(99)["config"]


async def test_edits_and_new_classes_at_once_end_with_the_last_edit_everywhere(deps, definitions, render, held):
    async def edit(number):
        await definitions.set_team_options(team_id, options(number))
        await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=team_id), deps)

    team_id = await definitions.team("busy", options(0))
    platforms = [f"p{number}" for number in range(12)]
    edits = [edit(number) for number in range(1, 6)]
    renders = [render(team_id, platform) for platform in platforms]
    await asyncio.gather(*edits, *renders)
    await definitions.set_team_options(team_id, options(100))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=team_id), deps)
    await announce_changed(deps)

    for platform in platforms:
        head = await render(team_id, platform)
        assert (await held(head.class_key))[1] == options(100)["config"]


async def test_provenance_is_stored_and_follows_an_edit_that_keeps_the_bytes(deps, definitions, database, render):
    await definitions.installation(options(10))
    team_id = await definitions.team("same", {}, "merge")
    await render(team_id)
    [before] = await database.rows(Plan)
    await definitions.set_team_options(team_id, options(10))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=team_id), deps)

    [after] = await database.rows(Plan)
    assert before.provenance == {"/options/distributed_interval": "global"}
    assert after.provenance == {"/options/distributed_interval": f"team-{team_id}"}
    assert after.revision == before.revision
