"""Device tokens: what a host's desktop shows at the door instead of a key."""

from __future__ import annotations

from datetime import datetime

from flotilla_common.contracts.device_tokens import DeviceToken, DeviceTokenInUse, DeviceTokenSetV1, OrbitKeyRetired
from flotilla_common.db import outbox
from sqlalchemy.ext.asyncio import AsyncSession

from inventory.store import device_tokens, hosts


async def set_token(
    session: AsyncSession, host_id: int, orbit_key_hash: bytes, token_hash: bytes, *, now: datetime
) -> DeviceToken:
    """Set a host's device token, and return it as it is stored then.

    The one before dies when the caller commits. The same value again changes nothing: a token lives an hour from the
    moment its value changed.

    Raises:
        OrbitKeyRetired: the host does not have this orbit key any more.
        DeviceTokenInUse: another host has this token.

    """
    if not await hosts.lock_with_orbit_key(session, host_id, orbit_key_hash):
        raise OrbitKeyRetired(f"host {host_id} has another orbit key")
    before = await device_tokens.find(session, host_id)
    if before is not None and before.token_hash == token_hash:
        return _token(host_id, orbit_key_hash, token_hash, before.set_at, before.revision)
    revision = await device_tokens.put(session, host_id, token_hash, now)
    if revision is None:
        raise DeviceTokenInUse(f"host {host_id} sends another host's device token")
    token = _token(host_id, orbit_key_hash, token_hash, now, revision)
    await outbox.add(session, DeviceTokenSetV1(token=token))
    return token


def _token(host_id: int, orbit_key_hash: bytes, token_hash: bytes, set_at: datetime, revision: int) -> DeviceToken:
    return DeviceToken(
        host_id=host_id,
        token_hash=token_hash.hex(),
        orbit_key_hash=orbit_key_hash.hex(),
        set_at=set_at,
        revision=revision,
    )
