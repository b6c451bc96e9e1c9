"""Admission: whether an enroll secret lets this host in, now and from here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
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


async def admit(
    session: AsyncSession, lookup: bytes, identifier: str, address: str, digest: bytes, *, now: datetime
) -> FoundSecret:
    """Return the secret that lets a host in. What it may be used for is decided again when it is used.

    Raises:
        BadEnrollSecret: it is unknown, or (subclasses) expired, used up, or shown from another network.

    """
    secret = await enroll_secrets.find(session, lookup)
    if secret is None:
        raise BadEnrollSecret(f"enroll secret of {identifier} is not known")
    if secret.expires_at is not None and secret.expires_at <= now:
        raise EnrollSecretExpired(f"the secret of {identifier} expired at {secret.expires_at}")
    if secret.allowed_networks and not _is_within(address, secret.allowed_networks):
        raise EnrollSecretWrongNetwork(f"the secret of {identifier} is not good from {clean(address)}")
    if secret.max_uses is not None and secret.uses >= secret.max_uses:
        known = await hosts.find(session, identifier)
        if known is None or not is_copy(known, secret, digest, now):
            raise EnrollSecretUsedUp(f"the secret of {identifier} was used {secret.uses} times")
    return secret


def is_copy(before: Host, secret: FoundSecret, digest: bytes, now: datetime) -> bool:
    """Whether a host sends the very enroll again that let it in a moment ago: no further use of the secret."""
    same = before.enroll_secret_id == secret.secret_id and before.enroll_digest == digest
    return same and now - before.last_enrolled_at < COPY_WINDOW


async def use(session: AsyncSession, secret: FoundSecret, before: Host | None, digest: bytes, now: datetime) -> None:
    """Use a secret whose use is limited, for a host whose row is locked.

    Raises:
        EnrollSecretUsedUp: others were faster.

    """
    if secret.max_uses is None or (before is not None and is_copy(before, secret, digest, now)):
        return
    if not await enroll_secrets.use(session, secret.secret_id, secret.max_uses, now):
        raise EnrollSecretUsedUp(f"the secret may be used {secret.max_uses} times")


def check_cooldown(
    before: Host | None, secret: FoundSecret, digest: bytes, cooldown: timedelta, *, now: datetime
) -> None:
    """Refuse a host that enrolled a moment ago, unless it sends the same again.

    A row without a node key is no earlier enroll of osqueryd: its orbit, or a person, made it.

    Raises:
        EnrollsTooOften: it has to wait.

    """
    if before is None or before.node_key_hash is None or now - before.last_enrolled_at >= cooldown:
        return
    if not is_copy(before, secret, digest, now):
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
