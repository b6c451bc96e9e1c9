"""Enrollment of orbit: an enroll secret traded for an orbit key. Orbit and osqueryd of a machine share one host.

The limits of a secret hold for orbit too. Machines with one identity are told apart by their osqueryds alone
(`identities`): orbit tells neither instance nor boot, so it enrolls into the host of its identifier, the first one's.

Source of the rules: Fleet 4.70, orbit enroll (no cooldown, no host limit, what is known of the host stays).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flotilla_common.contracts.hosts import HostEnrolledV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from flotilla_common.errors import Unavailable
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain import admission, platforms
from inventory.domain.admission import Agent, Attempt
from inventory.domain.builtin_labels import TOLD_FROM_FACTS, builtin_labels
from inventory.domain.enrollment import ATTEMPTS, asked_when
from inventory.domain.facts import Facts, clean
from inventory.errors import NoHostIdentifier, TooLate
from inventory.store import device_tokens, hosts, label_membership, records, scope

NEVER = datetime(1970, 1, 2, tzinfo=UTC)
"""`last_enrolled_at` of a host whose osqueryd has not enrolled yet: no cooldown may keep it from its first enroll."""

TEXTS = ("hardware_serial", "hardware_model", "hostname", "computer_name")


@dataclass(frozen=True)
class OrbitEnrollment:
    """What an enrolling orbit sends. `secret_lookup` is the lookup hash of its enroll secret.

    `identifier` is what its osqueryd enrolls with. `waited_seconds` is as in an `Enrollment`.
    """

    secret_lookup: bytes = field(repr=False)
    identifier: str
    hardware_uuid: str
    hardware_serial: str = ""
    hardware_model: str = ""
    hostname: str = ""
    computer_name: str = ""
    platform: str = ""
    remote_address: str = ""
    waited_seconds: float = 0.0

    def digest(self) -> bytes:
        """Return a hash of all that orbit sent: the same for a copy of this enroll."""
        sent = (self.identifier, self.hardware_uuid, self.platform, *(getattr(self, name) for name in TEXTS))
        return hashlib.sha256(self.secret_lookup + json.dumps(sent).encode()).digest()

    def facts(self) -> Facts:
        """Return column -> value of what it tells."""
        told = {name: clean(getattr(self, name)) for name in TEXTS}
        told |= {
            "uuid": clean(self.hardware_uuid),
            "platform": platforms.normalise(self.platform),
            "public_ip": clean(self.remote_address),
        }
        return {column: value for column, value in told.items() if value}


async def enroll_orbit(session: AsyncSession, enrollment: OrbitEnrollment, *, now: datetime) -> tuple[str, HostRecord]:
    """Enroll a host's orbit; return its orbit key and the host's record.

    A known host keeps its id, its node key and what osqueryd told of it, and moves to the secret's team; its old orbit
    key, and the device token that this one set, die when the caller commits.

    Raises:
        BadEnrollSecret: the secret is unknown or retired, or (subclasses) does not let this host in.
        NoHostIdentifier: orbit does not say on which machine it is.
        TooLate: a key nobody would take must not replace one that is in use.

    """
    asked_at = asked_when(enrollment.waited_seconds, now)
    if not enrollment.identifier:
        raise NoHostIdentifier
    digest = enrollment.digest()
    attempt = Attempt(Agent.ORBIT, enrollment.identifier, enrollment.remote_address, digest, now)
    secret = await admission.admit(session, enrollment.secret_lookup, attempt)
    await scope.hold(session)
    key = new_node_key()
    values = {
        "orbit_key_hash": hash_node_key(key),
        "team_id": secret.team_id,
        "orbit_enrolled_at": asked_at,
        "orbit_secret_id": None if secret.max_uses is None else secret.secret_id,
        "orbit_digest": None if secret.max_uses is None else digest,
        "updated_at": now,
    }
    host_id, before = await _keep(session, enrollment, values)
    await admission.use(session, secret, host_id, before, attempt)
    if before is not None:
        await device_tokens.remove(session, [host_id])
    [record] = await records.of_ids(session, [host_id])
    await outbox.add(session, _event(record, before))
    return key, record


async def _keep(session: AsyncSession, enrollment: OrbitEnrollment, values: Facts) -> tuple[int, Host | None]:
    """Insert the host or change the row it has; return its id and what the row was before, under its lock."""
    facts = enrollment.facts()
    for _ in range(ATTEMPTS):
        before = await hosts.find_for_update(session, enrollment.identifier)
        if before is not None and before.id is not None:
            if before.orbit_enrolled_at is not None and values["orbit_enrolled_at"] < before.orbit_enrolled_at:
                raise TooLate("this orbit has asked again since, and has its key")
            news = {column: value for column, value in facts.items() if not getattr(before, column)}
            await hosts.update(session, before.id, values | news)
            if "platform" in news:
                await _label(session, before.id, {**_known(before), **news})
            return before.id, before
        host_id = await hosts.insert(session, enrollment.identifier, values | facts | {"last_enrolled_at": NEVER})
        if host_id is not None:
            await _label(session, host_id, facts)
            return host_id, None
    raise Unavailable(f"{enrollment.identifier} is being deleted and enrolled again all the time")


def _known(host: Host) -> Facts:
    return {name: getattr(host, name) for name in ("platform", "os_name", "os_major")}


async def _label(session: AsyncSession, host_id: int, facts: Facts) -> None:
    await label_membership.replace_of_host(session, host_id, builtin_labels(facts), TOLD_FROM_FACTS)


def _event(record: HostRecord, before: Host | None) -> HostEnrolledV1:
    retired = () if before is None or before.orbit_key_hash is None else (before.orbit_key_hash.hex(),)
    return HostEnrolledV1(host=record, first_time=before is None, retired_key_hashes=retired)
