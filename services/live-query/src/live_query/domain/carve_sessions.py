"""Session ids of carves: signed with the key of commands, under a domain of their own."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flotilla_common.contracts.carves import SESSION_DOMAIN, CarveSession, encode_session, request_digest
from flotilla_common.db.models.live_query import Carve


def session_id_of(carve: Carve, key: Ed25519PrivateKey) -> str:
    """Return the session id of a carve: always the same one, so that nobody needs to keep it."""
    session = CarveSession(
        carve_id=carve.id or 0,
        host_id=carve.host_id,
        request_digest=request_digest(carve.request_id),
        block_count=carve.block_count,
        block_size=carve.block_size,
        expires_at=int(carve.expires_at.timestamp()),
    )
    payload = msgspec.json.encode(session)
    return encode_session(key.sign(SESSION_DOMAIN + payload), payload)
