"""Answer orbit's `device_token`: orbit makes the token, we remember its hash for an hour."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from flotilla_common.contracts.device_tokens import OrbitKeyRetired, SetDeviceTokenV1, hash_device_token
from flotilla_common.contracts.node_keys import hash_node_key

from agent_gateway.domain.gateway import Gateway
from agent_gateway.errors import MalformedDeviceToken, UnknownOrbitNodeKey

KEPT = b"{}"
TOKEN = re.compile(r"(?!\.+$)[A-Za-z0-9_.~-]{1,255}")  # what needs no escape in a path


class TokenRequest(msgspec.Struct):
    """Orbit's key and the token that its desktop will show."""

    orbit_node_key: str | None = None
    device_auth_token: Any = None


_decoder = msgspec.json.Decoder(TokenRequest)


async def answer_device_token(gateway: Gateway, body: bytes) -> bytes:
    """Remember a host's device token. One that is good already is not asked about; its time does not begin anew."""
    request = await gateway.read_small(_decoder, body)
    host = await gateway.orbit_host_of(request.orbit_node_key)
    token = request.device_auth_token
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise MalformedDeviceToken("device_auth_token takes 1 to 255 letters, digits and the characters - _ . ~")
    token_hash, key_hash = hash_device_token(token), hash_node_key(request.orbit_node_key or "")
    good = gateway.orbit.tokens.find(token_hash)
    if good is not None and good.orbit_key_hash == key_hash:
        return KEPT
    gateway.admission.take_asking("orbit", host.host_id)
    gateway.counters.backend_operations["set_device_token"] += 1
    try:
        kept = await gateway.orbit.ask(
            SetDeviceTokenV1(host_id=host.host_id, orbit_key_hash=key_hash.hex(), token_hash=token_hash.hex())
        )
    except OrbitKeyRetired:
        raise UnknownOrbitNodeKey from None
    gateway.orbit.tokens.put(kept.token)
    return KEPT
