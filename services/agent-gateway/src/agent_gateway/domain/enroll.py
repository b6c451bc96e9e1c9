"""Answer `enroll`."""

from __future__ import annotations

import msgspec

from agent_gateway.domain.enroll_body import decoder, enroll_request
from agent_gateway.domain.gateway import Gateway


async def answer_enroll(gateway: Gateway, body: bytes, remote_address: str) -> bytes:
    """Trade an enroll secret for a node key. One who hears nothing calls nobody invalid, whatever the secret."""
    gateway.check_bus()
    request = enroll_request(await gateway.read_small(decoder, body), remote_address)
    return msgspec.json.encode({"node_key": await gateway.enrollments.enroll(request)})
