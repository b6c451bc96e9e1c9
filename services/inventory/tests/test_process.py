"""The real process: ready, its own role and user are enough, SIGTERM ends it."""

from flotilla_common.contracts.hosts import EnrollHostV1, ResolveNodeKeysV1
from flotilla_common.db.models.inventory import Outbox
from flotilla_common.testing import eventually
from flotilla_common.testing.processes import running_service


async def test_a_host_enrolls_its_event_leaves_and_the_process_stops_on_sigterm(
    service_environment, database, definitions, gateway
):
    async with running_service("inventory", environment=service_environment("inventory")) as service:
        await service.ready()
        answer = await gateway.request(EnrollHostV1(enroll_secret="secret-of-no-team", host_identifier="A-1"))
        found = await gateway.request(ResolveNodeKeysV1(key_hashes=(answer.host.node_key_hash,)))

        async def nothing_waits() -> bool:
            return not list(await database.rows(Outbox))

        await eventually(nothing_waits, timeout=30.0)
        event = await gateway.js.get_last_msg("HOSTS", "hosts.enrolled.v1")
        code = await service.stop()

    assert found.hosts == (answer.host,)
    assert answer.host.node_key_hash.encode() in event.data
    assert code == 0
