"""Enrollment: an enroll secret traded for a node key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from flotilla_common.contracts.hosts import BadEnrollSecret, EnrollHostV1, HostEnrolledV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain import platforms
from inventory.domain.builtin_labels import TOLD_FROM_FACTS, builtin_labels
from inventory.domain.facts import Facts, clean, facts_of, number
from inventory.errors import NoHostIdentifier, TooLate
from inventory.store import enroll_secrets, hosts, label_membership, records, scope, seen

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

    @property
    def says_linux(self) -> bool:
        """Whether its osquery was built for Linux."""
        build = self.host_details.get("osquery_info", {}).get("build_platform", "")
        return "linux" in build.lower() or bool(number(self.platform_type) & platforms.LINUX_BIT)


async def enroll_host(session: AsyncSession, enrollment: Enrollment, *, now: datetime) -> tuple[str, HostRecord]:
    """Enroll a host; return its node key and its record.

    A known host keeps its id, gets a new key and moves to the secret's team; the old key dies when the caller commits.

    Raises:
        BadEnrollSecret: the secret is unknown or retired.
        NoHostIdentifier: the host does not say who it is.
        TooLate: a key nobody would take must not replace one that is in use.

    """
    asked_at = _asked_at(enrollment, now)
    identifier = clean(enrollment.host_identifier)
    if not identifier:
        raise NoHostIdentifier
    secret = await enroll_secrets.find(session, enrollment.secret_lookup)
    if secret is None:
        raise BadEnrollSecret(f"enroll secret of {identifier} is not known")
    await scope.hold(session)
    key = new_node_key()
    facts = facts_of(enrollment.host_details, enrollment.platform_type, enrollment.remote_address)
    values = {
        **facts,
        "node_key_hash": hash_node_key(key),
        "team_id": secret.team_id,
        "last_enrolled_at": asked_at,
        "updated_at": now,
        "refetch_requested": True,
    }
    host_id, before = await _keep(session, identifier, values)
    await label_membership.replace_of_host(session, host_id, _labels(before, facts, enrollment), TOLD_FROM_FACTS)
    await seen.touch(session, host_id, now)
    [record] = await records.of_ids(session, [host_id])
    await outbox.add(session, _event(record, before))
    return key, record


def _asked_at(enrollment: Enrollment, now: datetime) -> datetime:
    """Return when the host asked, by our clock: how long the request waited is known, the door's clock is not needed.

    The order of copies that come through two doors is therefore true but for milliseconds on the way.
    """
    waited = enrollment.waited_seconds
    if waited > PATIENCE_SECONDS:
        log.warning("an enroll came too late: this service is slow", seconds=round(waited, 1))
        raise TooLate(f"asked {waited:.1f} s ago")
    return now - timedelta(seconds=waited)


async def _keep(session: AsyncSession, identifier: str, values: Facts) -> tuple[int, Host | None]:
    """Insert the host or change the row it has; return its id and what the row was before, under its lock.

    Two enrolls of one identifier may run at once: one inserts, the other waits for it, then finds its row. The one
    asked last wins.
    """
    for _ in range(ATTEMPTS):
        before = await hosts.find_for_update(session, identifier)
        if before is not None and before.id is not None:
            if values["last_enrolled_at"] < before.last_enrolled_at:
                raise TooLate("this host has asked again since, and has its key")
            _warn_of_clones(before, values)
            await hosts.update(session, before.id, values)
            return before.id, before
        host_id = await hosts.insert(session, identifier, values)
        if host_id is not None:
            return host_id, None
    raise Unavailable(f"{identifier} is being deleted and enrolled again all the time")


def _labels(before: Host | None, facts: Facts, enrollment: Enrollment) -> frozenset[int]:
    """Return the built-in labels by all that is known now: new facts over those that the row had."""
    known = {} if before is None else {name: getattr(before, name) for name in ("platform", "os_name", "os_major")}
    return builtin_labels(known | facts, says_linux=enrollment.says_linux)


def _event(record: HostRecord, before: Host | None) -> HostEnrolledV1:
    retired = () if before is None or before.node_key_hash is None else (before.node_key_hash.hex(),)
    return HostEnrolledV1(host=record, first_time=before is None, retired_key_hashes=retired)


def _warn_of_clones(before: Host, facts: Facts) -> None:
    """Two machines with one identifier take the row from each other for ever: say so, it cannot be decided here."""
    serial, instance = str(facts.get("hardware_serial", "")), str(facts.get("instance_id", ""))
    if serial and before.hardware_serial and serial != before.hardware_serial and instance != before.instance_id:
        log.warning("another machine enrolls under a known identifier", host_id=before.id, serial=serial)
