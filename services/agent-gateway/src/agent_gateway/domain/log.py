"""Answer `log`: `{}` means that every line is in custody."""

from __future__ import annotations

from flotilla_common.contracts.logs import LOG_TYPES

from agent_gateway.domain import lines
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse
from agent_gateway.errors import UnknownLogType

TAKEN = b"{}"


async def answer_log(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Store the lines of one POST. An empty batch is legal: all its lines were too long for the host to send."""
    request = await gateway.large.run(len(body), lambda: parse(lines.decoder, body))
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    if request.log_type not in LOG_TYPES:
        raise UnknownLogType(str(request.log_type)[:64])
    data = request.data or []
    cut = await gateway.large.run(len(body), lambda: lines.cut(data))
    for reason, count in cut.skipped.items():
        gateway.counters.lines_skipped[reason] += count
    await gateway.logs.store(request.log_type, host, cut.pieces, int(gateway.now() * 1000))
    return TAKEN
