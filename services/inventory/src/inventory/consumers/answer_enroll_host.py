"""EnrollHostV1: trade an enroll secret for a node key."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.hosts import EnrolledV1, EnrollHostV1
from flotilla_common.errors import FleetError
from pydantic import SecretStr

from inventory.consumers.enrolling import AT_ONCE, add_wait, asked, count, count_and_tell, held
from inventory.deps import Deps
from inventory.domain import identities
from inventory.domain.attempts import Agent, Attempt
from inventory.domain.enrollment import enroll_host
from inventory.domain.identifiers import identifier_of
from inventory.store import enroll_secrets, identity_claims


async def answer(request: EnrollHostV1, deps: Deps) -> EnrolledV1:
    """Answer once the key is durable.

    A repeat gives a new key: the caller keeps the one of the answer it got. An older copy that comes after a newer one
    is refused: its answer goes to a connection that the host has given up.
    """
    identifier = identifier_of(deps.host_identifier, request.host_identifier, request.host_details)
    attempt = asked(request, Agent.OSQUERYD, identifier, deps)
    try:
        enrolled = await _enroll(request, attempt, deps)
    except FleetError as error:
        await count_and_tell(error, attempt, deps)
        raise
    count(attempt, "enrolled")
    return enrolled


async def _enroll(request: EnrollHostV1, attempt: Attempt, deps: Deps) -> EnrolledV1:
    async with deps.sessions.begin() as session:
        enrolled = await enroll_host(
            session, request, attempt, same_identity=deps.same_identity, cooldown=deps.enroll_cooldown
        )
    if enrolled is None:
        raise held()  # after the commit: what was noted about the two machines must stay
    key, record = enrolled
    return EnrolledV1(node_key=SecretStr(key), host=record)


async def forget(deps: Deps) -> None:
    """Forget what was noted about secrets that are gone, and about machines that changed places long ago."""
    async with deps.sessions.begin() as session:
        await enroll_secrets.forget_removed(session)
        await identity_claims.forget_before(session, deps.clock() - identities.REMEMBERED)


RESPONDER = Responder(EnrollHostV1, answer, concurrency=AT_ONCE, add_wait=add_wait)
