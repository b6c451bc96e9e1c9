"""EnrollOrbitV1: trade an enroll secret for an orbit key."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import EnrollOrbitV1, OrbitEnrolledV1
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.errors import FleetError
from pydantic import SecretStr

from inventory import metrics
from inventory.consumers.refusals import count_and_tell
from inventory.deps import Deps
from inventory.domain.identifiers import identifier_of_orbit
from inventory.domain.orbit_enrollment import OrbitEnrollment, enroll_orbit

AT_ONCE = 8  # as many as osqueryd's enrolls: a storm of both leaves connections to those who ask for keys


async def answer(request: EnrollOrbitV1, deps: Deps) -> OrbitEnrolledV1:
    """Answer once the key is durable. A repeat gives a new key, as with osqueryd's enroll."""
    enrollment = OrbitEnrollment(
        secret_lookup=enroll_secret_lookup(deps.secrets_key, request.enroll_secret.get_secret_value()),
        identifier=identifier_of_orbit(
            deps.host_identifier, request.osquery_identifier, request.hardware_uuid, request.hostname
        ),
        **request.model_dump(exclude={"enroll_secret", "osquery_identifier"}),
    )
    try:
        async with deps.sessions.begin() as session:
            key, record = await enroll_orbit(session, enrollment, now=deps.clock())
    except FleetError as error:
        await count_and_tell(
            error,
            deps,
            lookup=enrollment.secret_lookup,
            identifier=enrollment.identifier,
            address=enrollment.remote_address,
            agent="orbit_",
        )
        raise
    metrics.ENROLLS.labels("orbit_enrolled").inc()
    return OrbitEnrolledV1(orbit_node_key=SecretStr(key), host=record)


def add_wait(request: EnrollOrbitV1, seconds: float) -> EnrollOrbitV1:
    """Return the request with what it waited here on top of what it waited at the door."""
    return request.model_copy(update={"waited_seconds": request.waited_seconds + seconds})


RESPONDER = Responder(EnrollOrbitV1, answer, concurrency=AT_ONCE, add_wait=add_wait)
