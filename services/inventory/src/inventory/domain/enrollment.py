"""Enrollment: an enroll secret traded for a node key."""

from __future__ import annotations

from datetime import timedelta

from flotilla_common.contracts.hosts import EnrollHostV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.db.models.inventory import Host
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain import admission, platforms
from inventory.domain.attempts import Attempt
from inventory.domain.builtin_labels import TOLD_FROM_FACTS, builtin_labels
from inventory.domain.facts import Facts, facts_of, number
from inventory.domain.host_rows import ATTEMPTS, Changes, find_place, lost, write
from inventory.domain.identities import SEPARATE, machine_of
from inventory.store.enroll_secrets import FoundSecret
from inventory.store.enrolls import Labelling


async def enroll_host(
    session: AsyncSession,
    request: EnrollHostV1,
    attempt: Attempt,
    *,
    same_identity: str = SEPARATE,
    cooldown: timedelta = timedelta(0),
) -> tuple[str, HostRecord] | None:
    """Enroll a host; return its node key and its record; None when it is held (what was noted about it is to stay).

    A known host keeps its id, gets a new key and moves to the secret's team; the old key dies when the caller commits.

    Raises:
        BadEnrollSecret: the secret is unknown or retired, or (subclasses) does not let this host in.
        EnrollsTooOften: it has enrolled within the cooldown.
        NoHostIdentifier: the host does not say who it is.
        TooLate: a key nobody would take must not replace one that is in use.

    """
    attempt.check()
    secret = await admission.admit(session, attempt)
    facts = facts_of(request.host_details, request.platform_type, request.remote_address)
    key, machine = new_node_key(), machine_of(facts)
    values = _values(facts, key, secret, attempt, tells_copies=secret.max_uses is not None or bool(cooldown))
    identifier = attempt.identifier
    for _ in range(ATTEMPTS):
        place = await find_place(session, identifier, attempt, machine, same_identity)
        if place is None:
            return None
        admission.check_cooldown(place.before, secret, attempt, cooldown)
        labelling = _labelling(place.before, facts, says_linux=_says_linux(request))
        record = await write(session, attempt, secret, place, Changes(values, labelling, seen_at=attempt.now))
        if record is not None:
            return key, record
        identifier = place.identifier
    raise lost(attempt)


def _values(facts: Facts, key: str, secret: FoundSecret, attempt: Attempt, *, tells_copies: bool) -> Facts:
    return {
        **facts,
        "node_key_hash": hash_node_key(key),
        "team_id": secret.team_id,
        "last_enrolled_at": attempt.asked_at,
        "enroll_secret_id": secret.secret_id if tells_copies else None,
        "enroll_digest": attempt.digest if tells_copies else None,
        "refetch_requested": True,
    }


def _labelling(before: Host | None, facts: Facts, *, says_linux: bool) -> Labelling:
    """Return the built-in labels by all that is known now: new facts over those that the row had."""
    known = {} if before is None else {name: getattr(before, name) for name in ("platform", "os_name", "os_major")}
    labels = builtin_labels(known | facts, says_linux=says_linux)
    return Labelling(labels, instead_of=frozenset() if before is None else TOLD_FROM_FACTS - labels)


def _says_linux(request: EnrollHostV1) -> bool:
    """Whether the host's osquery was built for Linux."""
    build = request.host_details.get("osquery_info", {}).get("build_platform", "")
    return "linux" in build.lower() or bool(number(request.platform_type) & platforms.LINUX_BIT)
