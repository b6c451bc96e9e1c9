"""What orbit and the desktop get, in the bucket: made, changed, put back, removed."""

import json
from datetime import timedelta

import pytest
from config_merger.consumers import answer_render_plan, on_agent_options_changed, on_app_config_changed
from config_merger.consumers.housekeeping import Garbage, repair, start_over
from config_merger.store import plan_heads
from flotilla_common.contracts.definitions import AgentOptionsChangedV1, AppConfigChangedV1
from flotilla_common.contracts.plans import OrbitPlan, PlanHead, RenderPlanV1, head_key, orbit_key
from flotilla_common.db.models.admin_api import AppConfig, Label
from flotilla_common.db.models.config_merger import Plan
from flotilla_common.db.models.inventory import Host
from sqlalchemy import update

HOUR = timedelta(hours=1)


def options(timeout):
    return {"config": {}, "script_execution_timeout": timeout}


@pytest.fixture
async def head(deps, definitions):
    await definitions.installation(options(100))
    return await answer_render_plan.answer(RenderPlanV1(team_id=None, platform="ubuntu"), deps)


@pytest.fixture
def newest(deps, head):
    async def read() -> tuple[PlanHead, OrbitPlan]:
        body = await deps.bucket.get(head_key(head.class_key))
        found = PlanHead.model_validate_json(body)
        return found, OrbitPlan.model_validate_json(await deps.bucket.get(orbit_key(found.orbit_sha256)))

    return read


async def test_a_rendered_plan_has_its_part_for_orbit_in_the_bucket(newest):
    assert (await newest())[1].config == {"notifications": {}, "script_execution_timeout": 100}


async def test_a_change_for_orbit_alone_makes_a_newer_head_of_the_same_config(deps, definitions, head, newest):
    await definitions.installation(options(200))

    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    found, plan = await newest()
    assert plan.config["script_execution_timeout"] == 200
    assert found.revision > head.revision
    assert (found.config_sha256, found.etag) == (head.config_sha256, head.etag)


async def test_an_extension_for_a_label_is_in_the_plan_of_the_class_that_has_it(deps, database, definitions):
    label = Label(name="Servers")
    await database.add(label)
    extension = {"platform": "linux", "channel": "stable"}
    await definitions.installation({"extensions": {"inventory": extension | {"labels": ["Servers"]}}})

    plans = []
    for scope_labels in ((), (label.id,)):
        request = RenderPlanV1(team_id=None, platform="ubuntu", scope_labels=scope_labels)
        head = await answer_render_plan.answer(request, deps)
        plans.append(OrbitPlan.model_validate_json(await deps.bucket.get(orbit_key(head.orbit_sha256))).config)

    assert plans == [{"notifications": {}}, {"notifications": {}, "extensions": {"inventory": extension}}]


async def test_a_change_of_the_organization_reaches_the_desktop(deps, database, newest):
    document = {
        "org_info": {"org_name": "Example", "org_logo_url": 5},
        "fleet_desktop": {"transparency_url": "https://what-we-see.example.com"},
    }
    async with database.sessions().begin() as session:
        await session.execute(update(AppConfig).values(document=document))

    await on_app_config_changed.handle(AppConfigChangedV1(), deps)

    plan = (await newest())[1]
    assert plan.desktop["config"]["org_info"]["org_name"] == "Example"
    assert plan.desktop["config"]["org_info"]["org_logo_url"] == ""
    assert plan.transparency_url == "https://what-we-see.example.com"


async def test_an_empty_transparency_url_is_fleets_own_and_leads_nobody_in_a_circle(deps, database, newest):
    async with database.sessions().begin() as session:
        await session.execute(update(AppConfig).values(document={"fleet_desktop": {"transparency_url": ""}}))

    await on_app_config_changed.handle(AppConfigChangedV1(), deps)

    assert (await newest())[1].transparency_url == "https://fleetdm.com/transparency"


async def test_a_part_that_the_bucket_lost_is_put_back(deps, head, newest):
    before = await newest()
    await plan_heads.remove_orbit(deps.bucket, head.orbit_sha256)

    assert await repair(deps) == 1
    assert await newest() == before


async def test_a_plan_of_an_older_release_gets_its_part_at_the_next_start(deps, database, newest):
    async with database.sessions().begin() as session:
        await session.execute(update(Plan).values(orbit_sha256="", orbit=None))

    await start_over(deps)

    assert (await newest())[1].config["script_execution_timeout"] == 100


async def test_a_part_that_no_plan_has_goes_after_its_grace(deps, database, definitions, head, clock):
    await database.add(Host(revision=1, host_identifier="A-1", platform="ubuntu", last_enrolled_at=clock.now))
    await definitions.installation(options(200))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)
    garbage = Garbage(blob_grace=HOUR, class_grace=HOUR)

    await garbage.collect(deps)
    assert head.orbit_sha256 in (await plan_heads.contents(deps.bucket)).orbits
    clock.now += HOUR
    await garbage.collect(deps)

    left = (await plan_heads.contents(deps.bucket)).orbits
    assert head.orbit_sha256 not in left
    assert len(left) == 1
    assert json.loads(await deps.bucket.get(orbit_key(next(iter(left)))))["config"]["script_execution_timeout"] == 200
