"""RenderPlanV1: the first host of a class."""

import asyncio
import json

import pytest
from config_merger.consumers import answer_render_plan
from config_merger.domain import compilation
from config_merger.domain.plans import CONFIG_LIMIT
from config_merger.errors import NotAClass, PlanRefused, TooManyClasses, UnknownTeam
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.contracts.plans import BUCKET, PlanHead, RenderPlanV1, config_key, head_key
from flotilla_common.db.models.config_merger import Plan
from flotilla_common.errors import Invalid, NotFound

OPTIONS = {"config": {"options": {"distributed_interval": 10}}}


async def test_a_gateway_gets_the_head_and_finds_it_and_the_config_in_the_bucket(running, definitions, gateway):
    await definitions.installation(OPTIONS)
    await definitions.query("disk usage")
    bucket = await open_bucket(gateway, BUCKET)

    head = await gateway.request(RenderPlanV1(team_id=None, platform="ubuntu"))

    assert PlanHead.model_validate_json(await bucket.get(head_key(head.class_key)) or b"") == head
    config = json.loads(await bucket.get(config_key(head.config_sha256)) or b"")
    assert config["options"] == {"distributed_interval": 10}
    assert list(config["packs"]["Global"]["queries"]) == ["disk usage"]
    assert head.etag
    assert head.etag in head.config_sha256


async def test_the_head_tells_the_intervals_that_the_config_sets(deps, definitions):
    await definitions.installation(
        {
            "config": {"options": {"distributed_interval": 30, "config_refresh": "120"}},
            "overrides": {"platforms": {"windows": {"options": {"distributed_interval": 600}}}},
        }
    )

    ubuntu, windows = [
        await answer_render_plan.answer(RenderPlanV1(team_id=None, platform=platform), deps)
        for platform in ("ubuntu", "windows")
    ]

    assert (ubuntu.distributed_interval_seconds, ubuntu.config_refresh_seconds) == (30, 120)
    assert (windows.distributed_interval_seconds, windows.config_refresh_seconds) == (600, None)
    assert ubuntu.logger_tls_period_seconds is None


async def test_a_repeat_answers_the_same_head(deps, definitions):
    await definitions.installation(OPTIONS)
    request = RenderPlanV1(team_id=None, platform="ubuntu")

    first = await answer_render_plan.answer(request, deps)

    assert await answer_render_plan.answer(request, deps) == first


async def test_twenty_requests_at_once_make_one_class(deps, definitions, database):
    await definitions.installation(OPTIONS)
    request = RenderPlanV1(team_id=None, platform="ubuntu")

    heads = await asyncio.gather(*(answer_render_plan.answer(request, deps) for _ in range(20)))

    assert len({head.revision for head in heads}) == 1
    assert len(await database.rows(Plan)) == 1


async def test_a_repeat_puts_back_what_the_bucket_has_lost(deps, definitions, held):
    await definitions.installation(OPTIONS)
    request = RenderPlanV1(team_id=None, platform="ubuntu")
    head = await answer_render_plan.answer(request, deps)
    await deps.bucket.delete(head_key(head.class_key))
    await deps.bucket.delete(config_key(head.config_sha256))

    await answer_render_plan.answer(request, deps)

    assert await held(head.class_key) == (head, OPTIONS["config"])


async def test_an_unknown_team_is_not_found_and_leaves_no_class(running, gateway, database):
    with pytest.raises(NotFound):
        await gateway.request(RenderPlanV1(team_id=404, platform="ubuntu"))

    assert list(await database.rows(Plan)) == []


async def test_a_weird_platform_is_refused_and_leaves_no_class(running, gateway, database):
    with pytest.raises(Invalid):
        await gateway.request(RenderPlanV1(team_id=None, platform="x" * 1000))

    assert list(await database.rows(Plan)) == []


async def test_ever_new_platforms_come_to_an_end(deps, monkeypatch):
    monkeypatch.setattr(compilation, "CLASSES_LIMIT", 2)
    for platform in ("a", "b"):
        await answer_render_plan.answer(RenderPlanV1(team_id=None, platform=platform), deps)

    with pytest.raises(TooManyClasses):
        await answer_render_plan.answer(RenderPlanV1(team_id=None, platform="c"), deps)


async def test_a_config_above_the_limit_is_refused_and_leaves_no_class(deps, definitions, database):
    await definitions.installation({"config": {"options": {"a": "x" * CONFIG_LIMIT}}})

    with pytest.raises(PlanRefused):
        await answer_render_plan.answer(RenderPlanV1(team_id=None, platform="ubuntu"), deps)

    assert list(await database.rows(Plan)) == []


def test_the_refusals_are_told_apart():
    assert issubclass(NotAClass, Invalid)
    assert issubclass(UnknownTeam, NotFound)
