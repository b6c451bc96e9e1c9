"""The real process: ready, its own role and user are enough, an edit reaches the bucket, SIGTERM ends it."""

from flotilla_common.contracts.definitions import AgentOptionsChangedV1
from flotilla_common.contracts.plans import RenderPlanV1
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service


async def test_a_plan_is_rendered_an_edit_arrives_and_the_process_stops_on_sigterm(
    service_environment, definitions, gateway, admin, held
):
    await definitions.installation({"config": {"options": {"distributed_interval": 10}}})
    async with running_service("config_merger", environment=service_environment("config_merger")) as service:
        await service.ready()
        head = await gateway.request(RenderPlanV1(team_id=None, platform="ubuntu"))
        await definitions.installation({"config": {"options": {"distributed_interval": 99}}})
        await admin.publish(AgentOptionsChangedV1(team_id=None))

        async def has_arrived() -> bool:
            found = await held(head.class_key)
            return found is not None and found[1] == {"options": {"distributed_interval": 99}}

        await eventually(has_arrived, timeout=30.0)
        code = await service.stop()

    assert code == 0
