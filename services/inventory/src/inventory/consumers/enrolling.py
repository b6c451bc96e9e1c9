"""What enrolls of both agents have in common: how they are looked up, counted, and told of when they are refused."""

from __future__ import annotations

from typing import TypeVar

from flotilla_common.contracts.hosts import BadEnrollSecret, EnrollHostV1, EnrollOrbitV1, IdentityHeld
from flotilla_common.contracts.secrets_at_rest import enroll_secret_lookup
from flotilla_common.errors import FleetError

from inventory import metrics
from inventory.deps import Deps
from inventory.domain import admission
from inventory.domain.attempts import Agent, Attempt, attempt_of

R = TypeVar("R", EnrollHostV1, EnrollOrbitV1)

AT_ONCE = 8  # of each agent; the pool has twice its size at the most: some are left to those who ask for keys
OUTCOMES = {BadEnrollSecret.code: "bad_secret", IdentityHeld.code: "held"}


def add_wait(request: R, seconds: float) -> R:
    """Return the request with what it waited here on top of what it waited at the door."""
    return request.model_copy(update={"waited_seconds": request.waited_seconds + seconds})


def asked(request: EnrollHostV1 | EnrollOrbitV1, agent: Agent, identifier: str, deps: Deps) -> Attempt:
    """Return what a request asks for; the secret itself goes no further."""
    lookup = enroll_secret_lookup(deps.secrets_key, request.enroll_secret.get_secret_value())
    return attempt_of(request, agent, identifier, lookup, deps.clock())


def held() -> IdentityHeld:
    """Return the error of a machine that has to wait until somebody settles whose identity it is."""
    return IdentityHeld("another machine has this identity and is alive; delete one of them, or set them apart")


def count(attempt: Attempt, outcome: str) -> None:
    """Count an enroll by its outcome."""
    prefix = "orbit_" if attempt.agent is Agent.ORBIT else ""
    metrics.ENROLLS.labels(prefix + outcome).inc()


async def count_and_tell(error: FleetError, attempt: Attempt, deps: Deps) -> None:
    """Count a refusal, and tell people of it when it shows a secret that exists."""
    outcome = error.code if isinstance(error, BadEnrollSecret) else "refused"
    count(attempt, OUTCOMES.get(error.code, outcome))
    if isinstance(error, BadEnrollSecret) and error.code != BadEnrollSecret.code:
        await _tell(error.code, attempt, deps)


async def _tell(reason: str, attempt: Attempt, deps: Deps) -> None:
    """Tell people of the refusal, in a transaction of its own: the enroll's is taken back."""
    what = (attempt.secret_lookup, reason)
    told_at = deps.refusals_told.get(what)
    if told_at is not None and attempt.now - told_at < admission.TOLD_EVERY:
        return
    deps.refusals_told[what] = attempt.now  # at once: those who are refused meanwhile need not try
    try:
        async with deps.sessions.begin() as session:
            await admission.tell_refusal(session, attempt, reason)
    except BaseException:
        deps.refusals_told.pop(what, None)  # nobody has been told
        raise
