"""Answer the device API: what a person's own computer may ask with its device token."""

from __future__ import annotations

from flotilla_common.contracts.hosts import RefetchHostV1

from agent_gateway.domain.gateway import Gateway
from agent_gateway.errors import BadDeviceToken

DONE = b"{}"


async def check_token(gateway: Gateway, token: str) -> None:
    """Say whether a token is good, by not failing."""
    await gateway.device_host_of(token)


async def desktop_summary(gateway: Gateway, token: str) -> bytes:
    """Return what the desktop's menu shows."""
    host = await gateway.device_host_of(token)
    return (await gateway.orbit.plans.plan_of(host)).desktop


async def transparency_url(gateway: Gateway, token: str) -> str:
    """Return where people read what is collected of their computers."""
    host = await gateway.device_host_of(token)
    return (await gateway.orbit.plans.plan_of(host)).transparency_url


async def refetch(gateway: Gateway, token: str) -> bytes:
    """Have the host's details asked for again."""
    host = await gateway.device_host_of(token)
    gateway.admission.take_asking("device", host.host_id)
    gateway.counters.backend_operations["refetch_host"] += 1
    affected = await gateway.orbit.ask(RefetchHostV1(host_id=host.host_id))
    if not affected.count:
        raise BadDeviceToken
    return DONE
