"""SetDeviceTokenV1: give a host another device token."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.device_tokens import DeviceTokenKeptV1, SetDeviceTokenV1
from flotilla_common.errors import Invalid

from inventory.deps import Deps
from inventory.domain.device_tokens import set_token


async def answer(request: SetDeviceTokenV1, deps: Deps) -> DeviceTokenKeptV1:
    """Answer once the token is durable. A repeat finds the same value and changes nothing, its time neither."""
    try:
        orbit_key_hash, token_hash = bytes.fromhex(request.orbit_key_hash), bytes.fromhex(request.token_hash)
    except ValueError as error:
        raise Invalid("a hash is not hexadecimal") from error
    async with deps.sessions.begin() as session:
        token = await set_token(session, request.host_id, orbit_key_hash, token_hash, now=deps.clock())
    return DeviceTokenKeptV1(token=token)


RESPONDER = Responder(SetDeviceTokenV1, answer)
