"""Refused enrolls: counted, and told to people when they show a secret that exists."""

from __future__ import annotations

from flotilla_common.contracts.hosts import BadEnrollSecret, IdentityHeld
from flotilla_common.errors import FleetError

from inventory import metrics
from inventory.deps import Deps
from inventory.domain import admission

OUTCOMES = {BadEnrollSecret.code: "bad_secret", IdentityHeld.code: "held"}


async def count_and_tell(
    error: FleetError, deps: Deps, *, lookup: bytes, identifier: str, address: str, agent: str = ""
) -> None:
    """Count a refusal by its outcome, which begins with `agent`, and tell people of it when that helps them."""
    outcome = error.code if isinstance(error, BadEnrollSecret) else "refused"
    metrics.ENROLLS.labels(agent + OUTCOMES.get(error.code, outcome)).inc()
    if isinstance(error, BadEnrollSecret) and error.code != BadEnrollSecret.code:
        await _tell(error.code, deps, lookup, identifier, address)


async def _tell(reason: str, deps: Deps, lookup: bytes, identifier: str, address: str) -> None:
    """Tell people of the refusal, in a transaction of its own: the enroll's is taken back."""
    now, what = deps.clock(), (lookup, reason)
    told_at = deps.refusals_told.get(what)
    if told_at is not None and now - told_at < admission.TOLD_EVERY:
        return
    deps.refusals_told[what] = now
    async with deps.sessions.begin() as session:
        await admission.tell_refusal(session, lookup, reason, identifier, address, now=now)
