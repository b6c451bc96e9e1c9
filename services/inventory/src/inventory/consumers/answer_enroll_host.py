"""EnrollHostV1: trade an enroll secret for a node key."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrolledV1, EnrollHostV1
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.errors import FleetError
from pydantic import SecretStr

from inventory import metrics
from inventory.deps import Deps
from inventory.domain.enrollment import Enrollment, enroll_host


async def answer(request: EnrollHostV1, deps: Deps) -> EnrolledV1:
    """Answer once the key is durable.

    A repeat gives a new key: the caller keeps the one of the answer it got. An older copy that comes after a newer one
    is refused: its answer goes to a connection that the host has given up.
    """
    enrollment = Enrollment(
        secret_lookup=enroll_secret_lookup(deps.secrets_key, request.enroll_secret.get_secret_value()),
        host_identifier=request.host_identifier,
        host_details=request.host_details,
        platform_type=request.platform_type,
        remote_address=request.remote_address,
        waited_seconds=request.waited_seconds,
    )
    try:
        async with deps.sessions.begin() as session:
            key, record = await enroll_host(session, enrollment, now=deps.clock())
    except FleetError as error:
        metrics.ENROLLS.labels("bad_secret" if isinstance(error, BadEnrollSecret) else "refused").inc()
        raise
    metrics.ENROLLS.labels("enrolled").inc()
    return EnrolledV1(node_key=SecretStr(key), host=record)


def add_wait(request: EnrollHostV1, seconds: float) -> EnrollHostV1:
    """Return the request with what it waited here on top of what it waited at the door."""
    return request.model_copy(update={"waited_seconds": request.waited_seconds + seconds})


RESPONDER = Responder(EnrollHostV1, answer, add_wait=add_wait)
