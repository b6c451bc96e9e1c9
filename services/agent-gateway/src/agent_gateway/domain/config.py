"""Answer `config`."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse

UNCHANGED = b'{"etag":"ok"}'


class ConfigRequest(msgspec.Struct):
    """`etag` is there (possibly empty) only from clients that understand it in the answer."""

    node_key: str | None = None
    etag: Any = msgspec.UNSET


_decoder = msgspec.json.Decoder(ConfigRequest)


async def answer_config(gateway: Gateway, body: bytes, header_key: str | None) -> bytes:
    """Return the host's config: the same bytes on every gateway, or that it has not changed."""
    request = parse(_decoder, body)
    gateway.check_bus()
    host = await gateway.host_of(request.node_key, header_key)
    plan = gateway.plans.find(host.class_key) or await gateway.plans.plan_of(host)
    if not isinstance(request.etag, str):
        return plan.body
    return UNCHANGED if request.etag == plan.head.etag else plan.body_with_etag
