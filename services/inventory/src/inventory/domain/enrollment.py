"""Enrollment: an enroll secret traded for a node key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from flotilla_common.contracts.hosts import EnrollHostV1, HostEnrolledV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain import admission, identities, platforms
from inventory.domain.admission import Agent, Attempt
from inventory.domain.builtin_labels import TOLD_FROM_FACTS, builtin_labels
from inventory.domain.facts import Facts, clean, facts_of, number
from inventory.domain.identities import HOLD, SEPARATE
from inventory.errors import NoHostIdentifier, TooLate
from inventory.store import hosts, label_membership, records, scope, seen

log = structlog.get_logger()

PATIENCE_SECONDS = EnrollHostV1.timeout_seconds  # the caller waits no longer
ATTEMPTS = 10  # each one lost to a delete of the same host between two statements


@dataclass(frozen=True)
class Enrollment:
    """What an enrolling host sends. `secret_lookup` is the lookup hash of its enroll secret.

    `waited_seconds` is how long the request waited for its turn, at the door and here.
    """

    secret_lookup: bytes = field(repr=False)
    host_identifier: str
    host_details: dict[str, dict[str, str]] = field(default_factory=dict)
    platform_type: str = ""
    remote_address: str = ""
    waited_seconds: float = 0.0

    def digest(self) -> bytes:
        """Return a hash of all that the host sent: the same for a copy of this enroll."""
        sent = (self.host_identifier, self.platform_type, self.host_details)
        return hashlib.sha256(self.secret_lookup + json.dumps(sent, sort_keys=True).encode()).digest()

    @property
    def says_linux(self) -> bool:
        """Whether its osquery was built for Linux."""
        build = self.host_details.get("osquery_info", {}).get("build_platform", "")
        return "linux" in build.lower() or bool(number(self.platform_type) & platforms.LINUX_BIT)


async def enroll_host(
    session: AsyncSession,
    enrollment: Enrollment,
    *,
    now: datetime,
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
    asked_at = asked_when(enrollment.waited_seconds, now)
    identifier = clean(enrollment.host_identifier)
    if not identifier:
        raise NoHostIdentifier
    digest = enrollment.digest()
    attempt = Attempt(Agent.OSQUERYD, identifier, enrollment.remote_address, digest, now)
    secret = await admission.admit(session, enrollment.secret_lookup, attempt)
    await scope.hold(session)
    key = new_node_key()
    facts = facts_of(enrollment.host_details, enrollment.platform_type, enrollment.remote_address)
    tells_copies = secret.max_uses is not None or bool(cooldown)
    values = {
        **facts,
        "node_key_hash": hash_node_key(key),
        "team_id": secret.team_id,
        "last_enrolled_at": asked_at,
        "enroll_secret_id": secret.secret_id if tells_copies else None,
        "enroll_digest": digest if tells_copies else None,
        "updated_at": now,
        "refetch_requested": True,
    }
    kept = await _keep(session, identifier, values, facts, same_identity, now)
    if kept is None:
        return None
    host_id, before = kept
    admission.check_cooldown(before, secret, attempt, cooldown)
    await admission.use(session, secret, host_id, before, attempt)
    labels = _labels(before, facts, enrollment)
    if before is None:
        await label_membership.add_host(session, host_id, labels)
    else:
        await label_membership.replace_of_host(session, host_id, labels, TOLD_FROM_FACTS)
    await seen.touch(session, host_id, now)
    [record] = await records.of_ids(session, [host_id])
    await outbox.add(session, _event(record, before))
    return key, record


def asked_when(waited_seconds: float, now: datetime) -> datetime:
    """Return when the host asked, by our clock: how long the request waited is known, the door's clock is not needed.

    The order of copies that come through two doors is therefore true but for milliseconds on the way.

    Raises:
        TooLate: nobody waits for the answer any more.

    """
    if waited_seconds > PATIENCE_SECONDS:
        log.warning("an enroll came too late: this service is slow", seconds=round(waited_seconds, 1))
        raise TooLate(f"asked {waited_seconds:.1f} s ago")
    return now - timedelta(seconds=waited_seconds)


async def _keep(
    session: AsyncSession, identifier: str, values: Facts, facts: Facts, same_identity: str, now: datetime
) -> tuple[int, Host | None] | None:
    """Insert the host or change the row it has; return its id and what the row was before, under its lock.

    Two enrolls of one identifier may run at once: one inserts, the other waits for it, then finds its row. The one
    asked last wins. None: the row is another machine's, and this one is held.
    """
    for _ in range(ATTEMPTS):
        before = await hosts.find_for_update(session, identifier)
        if before is None or before.id is None:
            host_id = await hosts.insert(session, identifier, values)
            if host_id is not None:
                return host_id, None
            continue
        stranger = await identities.newcomer(session, before, facts, decision=same_identity, now=now)
        if stranger is None:
            if values["last_enrolled_at"] < before.last_enrolled_at:
                raise TooLate("this host has asked again since, and has its key")
            await hosts.update(session, before.id, values)
            return before.id, before
        if same_identity == HOLD:
            return None
        identifier = identities.own_identifier(before.host_identifier, stranger)
    raise Unavailable(f"{identifier} is being deleted and enrolled again all the time")


def _labels(before: Host | None, facts: Facts, enrollment: Enrollment) -> frozenset[int]:
    """Return the built-in labels by all that is known now: new facts over those that the row had."""
    known = {} if before is None else {name: getattr(before, name) for name in ("platform", "os_name", "os_major")}
    return builtin_labels(known | facts, says_linux=enrollment.says_linux)


def _event(record: HostRecord, before: Host | None) -> HostEnrolledV1:
    retired = () if before is None or before.node_key_hash is None else (before.node_key_hash.hex(),)
    return HostEnrolledV1(host=record, first_time=before is None, retired_key_hashes=retired)
