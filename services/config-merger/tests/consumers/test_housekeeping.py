"""What is missing comes back at start, what nobody refers to goes after its grace."""

from datetime import timedelta

import pytest
from config_merger.consumers import answer_render_plan, on_agent_options_changed
from config_merger.consumers.housekeeping import Garbage, repair, start_over
from config_merger.store import plan_heads
from flotilla_common.contracts.definitions import AgentOptionsChangedV1
from flotilla_common.contracts.plans import RenderPlanV1, head_key
from flotilla_common.db.models.config_merger import Plan
from flotilla_common.db.models.inventory import Host

HOUR = timedelta(hours=1)


def options(interval):
    return {"config": {"options": {"distributed_interval": interval}}}


@pytest.fixture
async def head(deps, definitions):
    await definitions.installation(options(10))
    return await answer_render_plan.answer(RenderPlanV1(team_id=None, platform="ubuntu"), deps)


@pytest.fixture
def garbage():
    return Garbage(blob_grace=HOUR, class_grace=HOUR)


@pytest.fixture
async def host(database, clock):
    host = Host(revision=1, host_identifier="A-1", platform="ubuntu", last_enrolled_at=clock.now)
    await database.add(host)
    return host


async def test_a_start_compiles_what_was_edited_meanwhile(deps, definitions, head, held):
    await definitions.installation(options(99))

    await start_over(deps)

    assert (await held(head.class_key))[1] == options(99)["config"]


async def test_a_start_fills_a_bucket_that_was_made_anew(deps, head, held):
    await plan_heads.remove(deps.bucket, head.class_key)
    await plan_heads.remove_config(deps.bucket, head.config_sha256)

    await start_over(deps)

    assert await held(head.class_key) == (head, options(10)["config"])
    assert await repair(deps) == 0


async def test_a_start_renews_a_head_of_an_older_release(deps, head, held):
    older = head.model_dump_json(exclude={"distributed_interval_seconds", "config_refresh_seconds"}).encode()
    await deps.bucket.put(head_key(head.class_key), older)

    await start_over(deps)

    renewed = await deps.bucket.entry(head_key(head.class_key))
    assert await held(head.class_key) == (head, options(10)["config"])
    await start_over(deps)
    assert await deps.bucket.entry(head_key(head.class_key)) == renewed


async def test_a_start_leaves_a_newer_head_alone(deps, head, held):
    newer = head.model_copy(update={"revision": head.revision + 1, "distributed_interval_seconds": 77})
    await plan_heads.announce(deps.bucket, newer, b"{}")

    await start_over(deps)

    assert (await held(head.class_key))[0] == newer


async def test_a_config_that_no_plan_has_goes_after_its_grace(deps, definitions, head, host, garbage, clock):
    await definitions.installation(options(99))
    await on_agent_options_changed.handle(AgentOptionsChangedV1(team_id=None), deps)

    await garbage.collect(deps)
    assert head.config_sha256 in (await plan_heads.contents(deps.bucket)).configs
    clock.now += HOUR
    await garbage.collect(deps)

    contents = await plan_heads.contents(deps.bucket)
    assert head.config_sha256 not in contents.configs
    assert len(contents.configs) == 1
    assert contents.heads == {head.class_key}


async def test_a_class_without_hosts_goes_after_its_grace_and_can_come_back(deps, head, garbage, clock, database, held):
    await garbage.collect(deps)
    assert await held(head.class_key) is not None
    clock.now += HOUR
    await garbage.collect(deps)
    assert await held(head.class_key) is None
    assert list(await database.rows(Plan)) == []

    again = await answer_render_plan.answer(RenderPlanV1(team_id=None, platform="ubuntu"), deps)

    assert again.revision > head.revision
    assert await held(head.class_key) == (again, options(10)["config"])


async def test_a_class_with_hosts_stays(deps, head, host, garbage, clock, held):
    for _ in range(3):
        await garbage.collect(deps)
        clock.now += HOUR

    assert await held(head.class_key) is not None


async def test_a_head_without_a_class_goes_after_its_grace(deps, head, host, garbage, clock, held):
    stray = head.model_copy(update={"class_key": "f" * 32})
    await plan_heads.announce(deps.bucket, stray, b"{}")

    await garbage.collect(deps)
    clock.now += HOUR
    await garbage.collect(deps)

    assert (await plan_heads.contents(deps.bucket)).heads == {head.class_key}
