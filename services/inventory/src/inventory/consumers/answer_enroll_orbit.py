"""EnrollOrbitV1: trade an enroll secret for an orbit key."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import EnrollOrbitV1, OrbitEnrolledV1
from flotilla_common.errors import FleetError
from pydantic import SecretStr

from inventory.consumers.enrolling import AT_ONCE, add_wait, asked, count, count_and_tell, held
from inventory.deps import Deps
from inventory.domain.attempts import Agent, Attempt
from inventory.domain.identifiers import identifier_of_orbit
from inventory.domain.orbit_enrollment import enroll_orbit


async def answer(request: EnrollOrbitV1, deps: Deps) -> OrbitEnrolledV1:
    """Answer once the key is durable. A repeat gives a new key, as with osqueryd's enroll."""
    identifier = identifier_of_orbit(
        deps.host_identifier, request.osquery_identifier, request.hardware_uuid, request.hostname
    )
    attempt = asked(request, Agent.ORBIT, identifier, deps)
    try:
        enrolled = await _enroll(request, attempt, deps)
    except FleetError as error:
        await count_and_tell(error, attempt, deps)
        raise
    count(attempt, "enrolled")
    return enrolled


async def _enroll(request: EnrollOrbitV1, attempt: Attempt, deps: Deps) -> OrbitEnrolledV1:
    async with deps.sessions.begin() as session:
        enrolled = await enroll_orbit(session, request, attempt, same_identity=deps.same_identity)
    if enrolled is None:
        raise held()  # after the commit: what was noted about the two machines must stay
    key, record = enrolled
    return OrbitEnrolledV1(orbit_node_key=SecretStr(key), host=record)


RESPONDER = Responder(EnrollOrbitV1, answer, concurrency=AT_ONCE, add_wait=add_wait)
