"""What a process knows of orbit and of desktops, and whom it asks."""

from __future__ import annotations

from dataclasses import dataclass

from agent_gateway.domain.circuits import Ask
from agent_gateway.domain.device_tokens import DeviceTokens
from agent_gateway.domain.keys import KeyResolver
from agent_gateway.domain.orbit_hosts import OrbitHosts
from agent_gateway.domain.orbit_plans import OrbitPlans


@dataclass
class Orbit:
    """State of orbit's API and of the device API."""

    hosts: OrbitHosts
    keys: KeyResolver
    plans: OrbitPlans
    tokens: DeviceTokens
    ask: Ask

    async def close(self) -> None:
        """Stop what is on its way."""
        await self.keys.close()
        await self.plans.close()
