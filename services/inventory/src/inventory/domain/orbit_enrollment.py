"""Enrollment of orbit: an enroll secret traded for an orbit key. Orbit and osqueryd of a machine share one host.

The limits of a secret hold for orbit too, and machines with one identity are told apart by their orbits as by their
osqueryds (`identities`), as far as serial and address tell them.

Source of the rules: Fleet 4.70, orbit enroll (no cooldown, no host limit, what is known of the host stays).
"""

from __future__ import annotations

from datetime import UTC, datetime

from flotilla_common.contracts.hosts import EnrollOrbitV1, HostRecord
from flotilla_common.contracts.node_keys import hash_node_key, new_node_key
from flotilla_common.db.models.inventory import Host
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain import admission, platforms
from inventory.domain.attempts import Attempt
from inventory.domain.builtin_labels import builtin_labels
from inventory.domain.facts import Facts, clean
from inventory.domain.host_rows import ATTEMPTS, Changes, find_place, lost, write
from inventory.domain.identities import SEPARATE, machine_of_enrolling_orbit
from inventory.store import device_tokens
from inventory.store.enroll_secrets import FoundSecret
from inventory.store.enrolls import Labelling

NEVER = datetime(1970, 1, 2, tzinfo=UTC)
"""`last_enrolled_at` of a host whose osqueryd has not enrolled yet: no cooldown may keep it from its first enroll."""

TEXTS = ("hardware_model", "hostname", "computer_name")
OF_OSQUERYD = ("hardware_serial", "public_ip")
"""What tells machines apart. Once a host's osqueryd has enrolled, orbit's word on it is kept beside it (`orbit_serial`,
`orbit_address`): it may be another machine's orbit."""


async def enroll_orbit(
    session: AsyncSession, request: EnrollOrbitV1, attempt: Attempt, *, same_identity: str = SEPARATE
) -> tuple[str, HostRecord] | None:
    """Enroll a host's orbit; return its orbit key and the host's record; None when it is held, as `enroll_host` does.

    A known host keeps its id, its node key and what osqueryd told of it, and moves to the secret's team; its old orbit
    key, and the device token that this one set, die when the caller commits.

    Raises:
        BadEnrollSecret: the secret is unknown or retired, or (subclasses) does not let this host in.
        NoHostIdentifier: orbit does not say on which machine it is.
        TooLate: a key nobody would take must not replace one that is in use.

    """
    attempt.check()
    secret = await admission.admit(session, attempt)
    key, facts, machine = new_node_key(), _facts(request, attempt), machine_of_enrolling_orbit(attempt)
    values = _values(key, secret, attempt)
    identifier = attempt.identifier
    for _ in range(ATTEMPTS):
        place = await find_place(session, identifier, attempt, machine, same_identity)
        if place is None:
            return None
        record = await write(session, attempt, secret, place, _changes(place.before, values, facts))
        if record is not None:
            if place.before is not None:
                await device_tokens.remove(session, [record.host_id])
            return key, record
        identifier = place.identifier
    raise lost(attempt)


def _facts(request: EnrollOrbitV1, attempt: Attempt) -> Facts:
    """Return column -> value of what orbit tells; what it leaves empty it does not tell."""
    told = {name: clean(getattr(request, name)) for name in TEXTS}
    told |= {
        "hardware_serial": attempt.serial,
        "uuid": clean(request.hardware_uuid),
        "platform": platforms.normalise(request.platform),
        "public_ip": attempt.address,
    }
    return {column: value for column, value in told.items() if value}


def _values(key: str, secret: FoundSecret, attempt: Attempt) -> Facts:
    is_limited = secret.max_uses is not None
    return {
        "orbit_key_hash": hash_node_key(key),
        "team_id": secret.team_id,
        "orbit_enrolled_at": attempt.asked_at,
        "orbit_secret_id": secret.secret_id if is_limited else None,
        "orbit_digest": attempt.digest if is_limited else None,
        "orbit_serial": attempt.serial,
        "orbit_address": attempt.address,
    }


def _changes(before: Host | None, values: Facts, facts: Facts) -> Changes:
    """Return what is written: of a known host only the facts that nobody told before."""
    if before is None:
        return Changes({"last_enrolled_at": NEVER, **facts, **values}, Labelling(builtin_labels(facts)))
    not_ours = OF_OSQUERYD if before.last_enrolled_at > NEVER else ()
    news = {column: value for column, value in facts.items() if not getattr(before, column) and column not in not_ours}
    # A platform that was not known makes the host a member of more labels, and takes it out of none.
    known = {"os_name": before.os_name, "os_major": before.os_major}
    labelling = Labelling(builtin_labels(known | news)) if "platform" in news else None
    return Changes({**news, **values}, labelling)
