"""Answer `carve/begin` and `carve/block`."""

from __future__ import annotations

import msgspec
from flotilla_common.contracts.carves import CarveSession

from agent_gateway.domain.carve_bodies import (
    BlockBody,
    begin_decoder,
    begin_request,
    messages_of,
    number_of,
    parse_block,
)
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.patience import HAND_OVER_SECONDS, patience
from agent_gateway.errors import BadCarveSession, Malformed

TAKEN = b'{"success":true}'


async def answer_begin(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Hand out the session id for a carve that live-query accepts."""
    gateway.check_bus()
    sent = await gateway.read_small(begin_decoder, body)
    host = await gateway.host_of(sent.node_key, header_key)
    session_id = await gateway.carves.begin(begin_request(sent, host))
    return msgspec.json.encode({"session_id": session_id, "success": True})


async def answer_block(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Take a block; success is said once all of it is in custody.

    A body has no node key. The newest clients show it in a header: then it must be the key of the carve's host.
    """
    sent = await gateway.carve_bodies.run(len(body), lambda: parse_block(body))
    session = gateway.carves.session_of(sent.session_id, sent.request_id)
    gateway.check_bus()
    if header_key and (await gateway.host_of(None, header_key)).host_id != session.host_id:
        raise BadCarveSession
    messages = await _read(gateway, session, sent, len(body))
    async with patience(HAND_OVER_SECONDS, "custody"):
        await gateway.carves.hand_over(messages)
    return TAKEN


async def _read(gateway: Gateway, session: CarveSession, sent: BlockBody, size: int) -> list[tuple[str, bytes]]:
    block_id = -1
    try:
        block_id = number_of(sent.block_id, "block_id")
        return await gateway.carve_bodies.run(size, lambda: messages_of(session, block_id, sent.data))
    except Malformed as error:
        gateway.counters.carve_blocks["faulty"] += 1
        await gateway.carves.tell_fault(session, block_id, str(error))
        raise
