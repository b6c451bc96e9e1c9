"""EnrollHostV1: trade an enroll secret for a node key."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import EnrolledV1, EnrollHostV1, IdentityHeld
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.errors import FleetError
from pydantic import SecretStr

from inventory import metrics
from inventory.consumers.refusals import count_and_tell
from inventory.deps import Deps
from inventory.domain import identities
from inventory.domain.enrollment import Enrollment, enroll_host
from inventory.domain.identifiers import identifier_of
from inventory.store import enroll_secrets, identity_claims

AT_ONCE = 8  # of the pool's connections: a storm of enrolls leaves some to those who ask for keys


async def answer(request: EnrollHostV1, deps: Deps) -> EnrolledV1:
    """Answer once the key is durable.

    A repeat gives a new key: the caller keeps the one of the answer it got. An older copy that comes after a newer one
    is refused: its answer goes to a connection that the host has given up.
    """
    enrollment = Enrollment(
        secret_lookup=enroll_secret_lookup(deps.secrets_key, request.enroll_secret.get_secret_value()),
        host_identifier=identifier_of(deps.host_identifier, request.host_identifier, request.host_details),
        host_details=request.host_details,
        platform_type=request.platform_type,
        remote_address=request.remote_address,
        waited_seconds=request.waited_seconds,
    )
    try:
        enrolled = await _enroll(enrollment, deps)
    except FleetError as error:
        await count_and_tell(
            error,
            deps,
            lookup=enrollment.secret_lookup,
            identifier=enrollment.host_identifier,
            address=enrollment.remote_address,
        )
        raise
    metrics.ENROLLS.labels("enrolled").inc()
    return enrolled


async def _enroll(enrollment: Enrollment, deps: Deps) -> EnrolledV1:
    async with deps.sessions.begin() as session:
        enrolled = await enroll_host(
            session,
            enrollment,
            now=deps.clock(),
            same_identity=deps.same_identity,
            cooldown=deps.enroll_cooldown,
        )
    if enrolled is None:  # after the commit: what was noted about the two machines must stay
        raise IdentityHeld("another machine has this identity and is alive; delete one of them, or set them apart")
    key, record = enrolled
    return EnrolledV1(node_key=SecretStr(key), host=record)


def add_wait(request: EnrollHostV1, seconds: float) -> EnrollHostV1:
    """Return the request with what it waited here on top of what it waited at the door."""
    return request.model_copy(update={"waited_seconds": request.waited_seconds + seconds})


async def forget(deps: Deps) -> None:
    """Forget what was noted about secrets that are gone, and about machines that changed places long ago."""
    async with deps.sessions.begin() as session:
        await enroll_secrets.forget_removed(session)
        await identity_claims.forget_before(session, deps.clock() - identities.REMEMBERED)


RESPONDER = Responder(EnrollHostV1, answer, concurrency=AT_ONCE, add_wait=add_wait)
