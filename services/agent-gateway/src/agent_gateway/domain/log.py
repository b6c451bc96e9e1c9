"""Answer `log`: `{}` means that every line is in custody."""

from __future__ import annotations

from agent_gateway.domain import lines
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse

TAKEN = b"{}"


async def answer_log(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Store the lines of one POST. An empty batch is legal: all its lines were too long for the host to send."""
    request = await gateway.large.run(len(body), lambda: parse(lines.decoder, body))
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    gateway.admission.take_bytes("log", host.host_id, len(body))
    log_type = lines.log_type_of(request)
    data = request.data or []
    cut = await gateway.large.run(len(body), lambda: lines.cut(data, body))
    for reason, count in cut.skipped.items():
        gateway.counters.lines_skipped[reason] += count
    await gateway.logs.store(log_type, host, cut.pieces, int(gateway.now() * 1000))
    return TAKEN
