"""Admission: whether an enroll secret lets this host in, now and from here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flotilla_common.contracts.hosts import (
    BadEnrollSecret,
    EnrollRefusedV1,
    EnrollSecretExpired,
    EnrollSecretUsedUp,
    EnrollSecretWrongNetwork,
    EnrollsTooOften,
)
from flotilla_common.db import outbox
from flotilla_common.db.models.inventory import Host
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.domain.attempts import Agent, Attempt
from inventory.domain.facts import clean
from inventory.store import enroll_secrets, hosts
from inventory.store.enroll_secrets import FoundSecret

COPY_WINDOW = timedelta(seconds=60)  # osqueryd sends the same again when its connection breaks, or in its retries
TOLD_EVERY = timedelta(hours=1)


class Use(Enum):
    """What an enroll is for a secret whose use is limited."""

    NONE = "none"  # the secret's use is not limited, or this is a copy of the enroll before
    LEFT_BY_OTHER_AGENT = "left"  # the use that let in the host's other agent lets in this one as well, once
    ANOTHER = "another"


async def admit(session: AsyncSession, attempt: Attempt) -> FoundSecret:
    """Return the secret that lets a host in. The scope is held from then on (`store/scope.py`).

    How often it may be used is decided for good when it is used; here those are turned away early who come in vain.

    Raises:
        BadEnrollSecret: it is unknown, or (subclasses) expired, used up, or shown from another network.

    """
    identifier = attempt.identifier
    secret = await enroll_secrets.find_and_hold_scope(session, attempt.secret_lookup)
    if secret is None:
        raise BadEnrollSecret(f"enroll secret of {identifier} is not known")
    if secret.expires_at is not None and secret.expires_at <= attempt.now:
        raise EnrollSecretExpired(f"the secret of {identifier} expired at {secret.expires_at}")
    if secret.allowed_networks and not _is_within(attempt.address, secret.allowed_networks):
        raise EnrollSecretWrongNetwork(f"the secret of {identifier} is not good from {attempt.address}")
    if secret.max_uses is not None and secret.uses >= secret.max_uses:
        known = await hosts.find(session, identifier)
        # Where machines share the identifier the row may be another one's: then it is decided when that is known.
        if known is None or not (known.identity_shared or use_of(known, secret, attempt) is not Use.ANOTHER):
            raise EnrollSecretUsedUp(f"the secret of {identifier} was used {secret.uses} times")
    return secret


def use_of(before: Host | None, secret: FoundSecret, attempt: Attempt) -> Use:
    """Return what this enroll is for the secret; `before` is the host's row."""
    if secret.max_uses is None or (before is not None and _is_copy(before, secret, attempt)):
        return Use.NONE
    return Use.LEFT_BY_OTHER_AGENT if before is not None and _left(before, secret, attempt) else Use.ANOTHER


def _is_copy(before: Host, secret: FoundSecret, attempt: Attempt) -> bool:
    """Whether a host sends the very enroll again that let it in a moment ago."""
    if attempt.agent is Agent.ORBIT:
        last = (before.orbit_secret_id, before.orbit_digest)
        enrolled_at = before.orbit_enrolled_at
    else:
        last = (before.enroll_secret_id, before.enroll_digest)
        enrolled_at = before.last_enrolled_at
    same = last == (secret.secret_id, attempt.digest)
    return same and enrolled_at is not None and attempt.now - enrolled_at < COPY_WINDOW


def _left(before: Host, secret: FoundSecret, attempt: Attempt) -> bool:
    """Whether the host's other agent used this secret, and its use is good for this agent as well, once.

    It is good on the machine of the other agent only: one with the same serial, or, unless both tell one, from the
    same address. An identifier can be guessed.
    """
    of_other = before.enroll_secret_id if attempt.agent is Agent.ORBIT else before.orbit_secret_id
    return before.use_left_for == attempt.agent and of_other == secret.secret_id and _is_same_machine(before, attempt)


def _is_same_machine(before: Host, attempt: Attempt) -> bool:
    """Whether an agent enrolls from where the host's other agent is; osqueryd's word stands in for one never asked."""
    of_orbit = attempt.agent is Agent.OSQUERYD
    serial = (before.orbit_serial if of_orbit else "") or before.hardware_serial
    if serial and attempt.serial:
        return serial == attempt.serial
    return ((before.orbit_address if of_orbit else "") or before.public_ip) == attempt.address


def leaves(use: Use, attempt: Attempt) -> dict[str, str]:
    """Return the column of the host's row that says for which agent the use is good after this enroll."""
    if use is Use.NONE:
        return {}
    return {"use_left_for": attempt.agent.other if use is Use.ANOTHER else ""}


async def spend(session: AsyncSession, secret: FoundSecret, attempt: Attempt) -> None:
    """Use a secret whose use is limited once more.

    Raises:
        EnrollSecretUsedUp: others were faster.

    """
    limit = secret.max_uses
    if limit is not None and not await enroll_secrets.use(session, secret.secret_id, limit, attempt.now):
        raise EnrollSecretUsedUp(f"the secret may be used {limit} times")


def check_cooldown(before: Host | None, secret: FoundSecret, attempt: Attempt, cooldown: timedelta) -> None:
    """Refuse a host that enrolled a moment ago, unless it sends the same again.

    A row without a node key is no earlier enroll of osqueryd: its orbit, or a person, made it.

    Raises:
        EnrollsTooOften: it has to wait.

    """
    if before is None or before.node_key_hash is None or attempt.now - before.last_enrolled_at >= cooldown:
        return
    if not _is_copy(before, secret, attempt):
        raise EnrollsTooOften(f"host identified by {before.host_identifier} enrolling too often")


async def tell_refusal(session: AsyncSession, attempt: Attempt, reason: str) -> None:
    """Tell people that a secret was refused, once in a while: whoever holds an old secret cannot flood them."""
    secret, now = await enroll_secrets.find(session, attempt.secret_lookup), attempt.now
    if secret is None or not await enroll_secrets.may_tell(session, secret.secret_id, reason, now, now - TOLD_EVERY):
        return
    event = EnrollRefusedV1(
        secret_id=secret.secret_id,
        team_id=secret.team_id,
        reason=reason,
        host_identifier=clean(attempt.identifier),
        remote_address=attempt.address,
    )
    await outbox.add(session, event)


def _is_within(address: str, networks: Iterable[str]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(_plain(parsed) in ip_network(network, strict=False) for network in networks)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return an IPv4 address that a socket for both kinds shows as IPv6 (`::ffff:192.0.2.7`) as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
