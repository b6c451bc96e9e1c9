"""Answer `orbit/config`. A host's orbit asks twice a minute, always; it does not count as seen by that."""

from __future__ import annotations

import msgspec
from flotilla_common.contracts.node_keys import hash_node_key

from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.json_bodies import parse_usual


class OrbitRequest(msgspec.Struct):
    """Members beyond the key mean nothing here."""

    orbit_node_key: str | None = None


_decoder = msgspec.json.Decoder(OrbitRequest)


async def answer_orbit_config(gateway: Gateway, body: bytes, _header_key: str | None) -> bytes:
    """Return what orbit is to do: the same bytes on every gateway. A header of osqueryd's says nothing about orbit."""
    request = await gateway.read_small(_decoder, body)
    host = await gateway.orbit_host_of(request.orbit_node_key)
    return (await gateway.orbit.plans.plan_of(host)).config


def orbit_config_from_memory(gateway: Gateway, body: bytes, _header_key: str | None) -> bytes | None:
    """Return the config of a known orbit whose plan is here. None: go the whole way; nothing has been done."""
    request = parse_usual(_decoder, body)
    if request is None or not request.orbit_node_key or gateway.is_deaf():
        return None
    host = gateway.orbit.hosts.find(hash_node_key(request.orbit_node_key))
    plan = None if host is None else gateway.orbit.plans.find(host.class_key)
    return None if plan is None else plan.config
