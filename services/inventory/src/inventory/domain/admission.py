"""Admission: whether an enroll secret lets this host in, now and from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
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

from inventory.domain.facts import clean
from inventory.store import enroll_secrets, hosts
from inventory.store.enroll_secrets import FoundSecret

COPY_WINDOW = timedelta(
    seconds=60
)  # osqueryd sends the same enroll again when its connection breaks, or in its retries
TOLD_EVERY = timedelta(hours=1)


class Agent(StrEnum):
    """Who enrolls. Both agents of a host share its row."""

    OSQUERYD = "osqueryd"
    ORBIT = "orbit"


@dataclass(frozen=True)
class Attempt:
    """An enroll as the limits of a secret see it. `digest` is the same for a copy of it."""

    agent: Agent
    identifier: str
    address: str
    digest: bytes
    at: datetime


async def admit(session: AsyncSession, lookup: bytes, attempt: Attempt) -> FoundSecret:
    """Return the secret that lets a host in. What it may be used for is decided again when it is used.

    Raises:
        BadEnrollSecret: it is unknown, or (subclasses) expired, used up, or shown from another network.

    """
    identifier = attempt.identifier
    secret = await enroll_secrets.find(session, lookup)
    if secret is None:
        raise BadEnrollSecret(f"enroll secret of {identifier} is not known")
    if secret.expires_at is not None and secret.expires_at <= attempt.at:
        raise EnrollSecretExpired(f"the secret of {identifier} expired at {secret.expires_at}")
    if secret.allowed_networks and not _is_within(attempt.address, secret.allowed_networks):
        raise EnrollSecretWrongNetwork(f"the secret of {identifier} is not good from {clean(attempt.address)}")
    if secret.max_uses is not None and secret.uses >= secret.max_uses:
        known = await hosts.find(session, identifier)
        if known is None or not (is_copy(known, secret, attempt) or _has_use_left(known, secret, attempt)):
            raise EnrollSecretUsedUp(f"the secret of {identifier} was used {secret.uses} times")
    return secret


def is_copy(before: Host, secret: FoundSecret, attempt: Attempt) -> bool:
    """Whether a host sends the very enroll again that let it in a moment ago: no further use of the secret."""
    if attempt.agent is Agent.ORBIT:
        last = (before.orbit_secret_id, before.orbit_digest)
        enrolled_at = before.orbit_enrolled_at
    else:
        last = (before.enroll_secret_id, before.enroll_digest)
        enrolled_at = before.last_enrolled_at
    same = last == (secret.secret_id, attempt.digest)
    return same and enrolled_at is not None and attempt.at - enrolled_at < COPY_WINDOW


def _has_use_left(before: Host, secret: FoundSecret, attempt: Attempt) -> bool:
    """Whether the host's other agent used this secret, and its use is good for this agent as well, once."""
    of_other = before.enroll_secret_id if attempt.agent is Agent.ORBIT else before.orbit_secret_id
    return before.use_left_for == attempt.agent and of_other == secret.secret_id


async def use(session: AsyncSession, secret: FoundSecret, host_id: int, before: Host | None, attempt: Attempt) -> None:
    """Use a secret whose use is limited, for a host whose row is locked. One use lets in both agents of a host.

    Raises:
        EnrollSecretUsedUp: others were faster.

    """
    if secret.max_uses is None or (before is not None and is_copy(before, secret, attempt)):
        return
    if before is not None and _has_use_left(before, secret, attempt):
        await hosts.leave_use_for(session, host_id, "")
        return
    if not await enroll_secrets.use(session, secret.secret_id, secret.max_uses, attempt.at):
        raise EnrollSecretUsedUp(f"the secret may be used {secret.max_uses} times")
    other = Agent.OSQUERYD if attempt.agent is Agent.ORBIT else Agent.ORBIT
    await hosts.leave_use_for(session, host_id, other)


def check_cooldown(before: Host | None, secret: FoundSecret, attempt: Attempt, cooldown: timedelta) -> None:
    """Refuse a host that enrolled a moment ago, unless it sends the same again.

    A row without a node key is no earlier enroll of osqueryd: its orbit, or a person, made it.

    Raises:
        EnrollsTooOften: it has to wait.

    """
    if before is None or before.node_key_hash is None or attempt.at - before.last_enrolled_at >= cooldown:
        return
    if not is_copy(before, secret, attempt):
        raise EnrollsTooOften(f"host identified by {before.host_identifier} enrolling too often")


async def tell_refusal(
    session: AsyncSession, lookup: bytes, reason: str, identifier: str, address: str, *, now: datetime
) -> None:
    """Tell people that a secret was refused, once in a while: whoever holds an old secret cannot flood them."""
    secret = await enroll_secrets.find(session, lookup)
    if secret is None or not await enroll_secrets.may_tell(session, secret.secret_id, reason, now, now - TOLD_EVERY):
        return
    event = EnrollRefusedV1(
        secret_id=secret.secret_id,
        team_id=secret.team_id,
        reason=reason,
        host_identifier=clean(identifier),
        remote_address=clean(address),
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
