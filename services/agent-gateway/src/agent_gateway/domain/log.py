"""Answer `log`: `{}` means that every line is in custody."""

from __future__ import annotations

from agent_gateway.domain import lines
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse_plain, parse_usual
from agent_gateway.domain.posts import TAKEN, Begun, Told


async def answer_log(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Store the lines of one POST. An empty batch is legal: all its lines were too long for the host to send."""
    request, cut = await gateway.read(
        "log", body, header_key, lambda: _plain(body), lambda: _cut(*lines.read_log(body), body)
    )
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    gateway.admission.take_bytes("log", host.host_id, len(body))
    log_type = lines.log_type_of(request)
    gateway.counters.count_skipped(cut.skipped)
    await gateway.logs.store(log_type, host, cut.pieces, int(gateway.now() * 1000))
    return TAKEN


def _plain(body: bytes) -> tuple[lines.LogRequest, lines.Cut] | None:
    request = parse_plain(lines.decoder, body)
    return None if request is None else _cut(request, 0, body)


def _cut(request: lines.LogRequest, too_deep: int, body: bytes) -> tuple[lines.LogRequest, lines.Cut]:
    """Cut before the host is asked for: nothing is waited for between that and the custody of its lines."""
    return request, lines.cut(request.data or [], body, too_deep=too_deep)


def begin_log(gateway: Gateway, body: bytes, header_key: str | None, told: Told) -> Begun | None:
    """Hand over the lines of a known host's POST that make one piece. None: go the whole way; nothing has been done."""
    request = parse_usual(lines.decoder, body)
    host = None if request is None else gateway.known_host(request.node_key, header_key)
    if request is None or host is None:
        return None
    cut = lines.cut(request.data or [], body)
    if len(cut.pieces) > 1:
        return None
    gateway.seen.add(host.host_id)
    gateway.admission.take_bytes("log", host.host_id, len(body))
    log_type = lines.log_type_of(request)
    gateway.counters.count_skipped(cut.skipped)
    return gateway.logs.begin(log_type, host, cut.pieces, int(gateway.now() * 1000), told)
