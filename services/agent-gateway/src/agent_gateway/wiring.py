"""Connect the domain to the bus."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flotilla_common.bus.buckets import Bucket
from flotilla_common.bus.connection import Bus
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.bus.follow import Follower
from flotilla_common.bus.objects import Objects
from flotilla_common.contracts.campaigns import STORE
from flotilla_common.http.health import Health

from agent_gateway.domain.admission import Admission, Limits
from agent_gateway.domain.answers import Answers
from agent_gateway.domain.bodies import Memory
from agent_gateway.domain.campaigns import Campaigns
from agent_gateway.domain.carves import Carves
from agent_gateway.domain.circuits import Ask
from agent_gateway.domain.counters import Counters
from agent_gateway.domain.device_tokens import DeviceTokens
from agent_gateway.domain.enrollment import Enrollments
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.hosts import HostCache
from agent_gateway.domain.keys import KeyResolver
from agent_gateway.domain.logs import LogIntake
from agent_gateway.domain.orbit import Orbit
from agent_gateway.domain.orbit_hosts import OrbitHosts, asking_for_orbit
from agent_gateway.domain.orbit_plans import OrbitPlans
from agent_gateway.domain.plans import Plans
from agent_gateway.domain.query_results import QueryResults
from agent_gateway.domain.query_sets import QuerySets
from agent_gateway.domain.seen import SeenHosts
from agent_gateway.domain.starts import Starts

USUAL = Limits()


def build_gateway(
    bus: Bus,
    custody: CustodyPublisher,
    plans_bucket: Bucket,
    keys: Sequence[Ed25519PublicKey] = (),
    limits: Limits = USUAL,
    *,
    uses_etag: bool = True,
) -> Gateway:
    """Return the state of a process, empty, that asks and publishes over this bus; `keys` are live-query's."""
    counters = Counters()
    memory = Memory()
    admission = Admission(custody.publish, lambda: bus.client.is_connected, memory, limits)
    ask = admission.inventory.asking(bus.request)
    hosts = HostCache()
    campaigns = Campaigns()
    plans = Plans(bus.request, plans_bucket.get, counters, uses_etag=uses_etag)
    seen = SeenHosts()
    return Gateway(
        hosts=hosts,
        keys=KeyResolver(hosts, bus.request, counters, kind="resolve_node_keys"),
        plans=plans,
        campaigns=campaigns,
        starts=Starts(campaigns, Objects(bus, STORE).get, counters, time.time),
        answers=Answers(admission.answers.publish, counters),
        query_sets=QuerySets(plans),
        query_results=QueryResults(admission.results.publish, counters),
        logs=LogIntake(admission.logs.publish, counters, seen),
        enrollments=Enrollments(hosts, ask, counters),
        carves=Carves(admission.live_query.asking(bus.request), admission.carves.publish, keys, counters, time.time),
        orbit=_build_orbit(bus, plans, plans_bucket, ask, counters),
        seen=seen,
        counters=counters,
        admission=admission,
        memory=memory,
        silence=lambda: bus.silence_seconds,
        now=time.time,
    )


def _build_orbit(bus: Bus, plans: Plans, plans_bucket: Bucket, ask: Ask, counters: Counters) -> Orbit:
    tokens = DeviceTokens()
    hosts = OrbitHosts(tokens)
    return Orbit(
        hosts=hosts,
        keys=KeyResolver(
            hosts,
            asking_for_orbit(bus.request),
            counters,
            "inventory, about orbit keys",
            kind="resolve_orbit_keys",
        ),
        plans=OrbitPlans(plans, plans_bucket.get, counters),
        tokens=tokens,
        ask=ask,
    )


def hear_revocations(gateway: Gateway, bus: Bus, hosts: Follower, health: Health) -> None:
    """Count as silence what keeps revocations away: of the connection, or of the follower of HOSTS alone.

    While the gateway is deaf it is not ready either.
    """
    gateway.silence = lambda: max(bus.silence_seconds, hosts.silence_seconds)

    async def check() -> str | None:
        seconds = gateway.silence()
        return f"no word about revoked keys for {seconds:.0f} s" if gateway.is_deaf() else None

    health.ready_checks["revocations"] = check
