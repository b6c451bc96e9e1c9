"""Answer `config`."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse_usual
from agent_gateway.domain.plans import Plan

UNCHANGED = b'{"etag":"ok"}'


class ConfigRequest(msgspec.Struct):
    """`etag` is there (possibly empty) only from clients that understand it in the answer."""

    node_key: str | None = None
    etag: Any = msgspec.UNSET


_decoder = msgspec.json.Decoder(ConfigRequest)


async def answer_config(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Return the host's config: the same bytes on every gateway, or that it has not changed."""
    request = await gateway.read_small(_decoder, body)
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    plan = gateway.plans.find(host.class_key) or await gateway.plans.plan_of(host)
    return _config(plan, request.etag)


def config_from_memory(gateway: Gateway, body: bytes, header_key: str | None) -> bytes | None:
    """Return the config of a known host whose plan is here. None: go the whole way; nothing has been done."""
    request = parse_usual(_decoder, body)
    host = None if request is None or gateway.is_deaf() else gateway.known_host(request.node_key, header_key)
    plan = None if host is None else gateway.plans.find(host.class_key)
    if request is None or host is None or plan is None:
        return None
    gateway.seen.add(host.host_id)
    return _config(plan, request.etag)


def _config(plan: Plan, etag: Any) -> bytes:
    if not isinstance(etag, str):
        return plan.body
    return UNCHANGED if etag == plan.etag else plan.body_with_etag
