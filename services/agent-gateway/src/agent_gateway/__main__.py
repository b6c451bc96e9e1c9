"""Read settings, open connections, follow what must be known, then open the door."""

from __future__ import annotations

import asyncio
import resource
import sys
import time

import structlog
import uvloop
from flotilla_common.bus import provision
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.bus.follow import Follower
from flotilla_common.contracts import plans as plan_contracts
from flotilla_common.contracts.hosts import ResolveNodeKeysV1
from flotilla_common.errors import FleetError
from flotilla_common.http.health import Health
from flotilla_common.service import live_with, run
from flotilla_common.settings import load_or_exit
from prometheus_client import REGISTRY

from agent_gateway.allocator import keep_freed_memory
from agent_gateway.app import create_app
from agent_gateway.collector import Collector
from agent_gateway.consumers.on_campaigns import campaigns_follower
from agent_gateway.consumers.on_details import details_follower
from agent_gateway.consumers.on_device_tokens import device_tokens_follower
from agent_gateway.consumers.on_hosts import hosts_follower
from agent_gateway.consumers.on_plans import plans_follower
from agent_gateway.consumers.watch_streams import watch_streams
from agent_gateway.deps import Deps
from agent_gateway.domain.clients import networks
from agent_gateway.domain.commands import public_keys
from agent_gateway.domain.gateway import Gateway
from agent_gateway.domain.offer_traces import trace_offers
from agent_gateway.domain.seen import report_seen
from agent_gateway.domain.silence import report_silent
from agent_gateway.listeners import CONNECTIONS, listen_plain, listen_tls
from agent_gateway.metrics import GatewayCollector
from agent_gateway.routes.door import Door
from agent_gateway.settings import Settings
from agent_gateway.wiring import build_gateway, hear_revocations
from agent_gateway.worker import end_with_parent, tell_open
from agent_gateway.workers import WorkerCannotStart, Workers

log = structlog.get_logger()

SWEEP_SECONDS = 10.0
PROBE_SECONDS = 0.5


async def start(settings: Settings, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Open the door once every campaign, plan and revocation from now on is followed."""
    keys = public_keys(settings.command_keys_file.read_bytes())
    bus = await connect(settings, name=settings.bus_name)
    live_with(bus, tasks, health)
    await provision.verify(bus, "HOSTS", "DEVICE_TOKENS", "LOGS", "ANSWERS", "RESULTS", "CARVES")
    custody = CustodyPublisher(bus)
    await custody.open()
    plans_bucket = await open_bucket(bus, plan_contracts.BUCKET)
    gateway = build_gateway(bus, custody, plans_bucket, keys, settings.limits, uses_etag=settings.config_etag)
    gateway.body_seconds = settings.body_seconds
    followers = {
        "hosts": hosts_follower(bus, gateway.hosts, gateway.orbit.hosts),
        "device tokens": device_tokens_follower(bus, gateway.orbit.tokens),
        "plans": plans_follower(bus, gateway.plans, gateway.orbit.plans),
        "details": details_follower(bus, gateway.query_sets),
        "campaigns": campaigns_follower(bus, gateway, keys),
    }
    hear_revocations(gateway, bus, followers["hosts"], health)
    gateway.orbit.tokens.silence = lambda: followers["device tokens"].silence_seconds
    await _follow(followers, tasks)
    tasks.create_task(gateway.starts.run(), name="late targets")
    tasks.create_task(watch_streams(bus, gateway.admission.gates), name="watch streams")
    deps = Deps(gateway, networks(settings.trusted_proxies))
    door = create_app(deps, plain_is_shared=settings.plain_port_is_shared)
    REGISTRY.register(GatewayCollector(gateway, lambda: door.inside))
    answered = _wait_for_inventory(bus, tasks, health)
    tasks.create_task(_keep_open(settings, door, gateway, bus, answered), name="door")
    tasks.create_task(_sweep(gateway, Collector()), name="sweep")
    tasks.create_task(
        report_seen(
            gateway.seen,
            bus.send,
            first_seconds=settings.seen_first_seconds,
            interval_seconds=settings.seen_interval_seconds,
        ),
        name="seen",
    )
    tasks.create_task(report_silent(gateway.campaigns, bus.send), name="silent hosts")
    tasks.create_task(trace_offers(gateway.campaigns), name="traces of offers")


async def _follow(followers: dict[str, Follower], tasks: asyncio.TaskGroup) -> None:
    for name, follower in followers.items():
        tasks.create_task(follower.run(), name=f"follow {name}")
    for name, follower in followers.items():
        await follower.caught_up.wait()
        log.info("caught up", what=name)


def _wait_for_inventory(bus: Bus, tasks: asyncio.TaskGroup, health: Health) -> asyncio.Event:
    """Not ready until inventory has answered once: without it a fresh cache knows nobody. Returns when that is."""
    answered = asyncio.Event()

    async def probe() -> None:
        while not answered.is_set():
            try:
                await bus.request(ResolveNodeKeysV1(key_hashes=()))
                answered.set()
            except FleetError as error:
                log.info("inventory does not answer yet", error=str(error))
                await asyncio.sleep(PROBE_SECONDS)

    async def check() -> str | None:
        return None if answered.is_set() else "inventory has not answered yet"

    health.ready_checks["inventory"] = check
    tasks.create_task(probe(), name="probe")
    return answered


async def _keep_open(settings: Settings, door: Door, gateway: Gateway, bus: Bus, answered: asyncio.Event) -> None:
    """Listen until cancelled; then let requests end before the bus is closed under them.

    A worker does not open before inventory has answered: until then those beside it know more hosts than it does.
    """
    try:
        if settings.worker:
            await answered.wait()
        await _listen(settings, door)
    finally:
        await gateway.close()
        await bus.close()


async def _listen(settings: Settings, door: Door) -> None:
    host, patience, is_worker = settings.listen_host, settings.patience, settings.worker > 0
    certificate = settings.certificate
    unopened = 2 - (settings.tls_port, settings.plain_port).count(None)

    def opened() -> None:
        nonlocal unopened
        unopened -= 1
        if is_worker and not unopened:
            tell_open()

    async with asyncio.TaskGroup() as listeners:
        if settings.tls_port is not None and certificate is not None:
            gather_seconds = settings.gather_seconds
            tls = listen_tls(
                door, host, settings.tls_port, certificate, patience, opened=opened, gather_seconds=gather_seconds
            )
            listeners.create_task(tls)
        if settings.plain_port is not None:
            listeners.create_task(
                listen_plain(door, host, settings.plain_port, patience, opened=opened, shares_port=is_worker)
            )


async def _sweep(gateway: Gateway, collector: Collector) -> None:
    while True:
        collector.settle(len(gateway.hosts))
        await asyncio.sleep(SWEEP_SECONDS)
        gateway.hosts.sweep()
        gateway.orbit.hosts.sweep()
        gateway.orbit.tokens.sweep()
        gateway.campaigns.sweep(time.time())


def _allow_many_connections() -> None:
    """Take as many open files as the system lets us have: the usual soft limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most < 0 else min(wanted, most), most))


def _run_workers(settings: Settings) -> None:
    """Be the parent of workers. Ends with the exit code of one that cannot start."""
    workers = Workers(settings)
    REGISTRY.register(workers)

    async def start_workers(tasks: asyncio.TaskGroup, health: Health) -> None:
        workers.start(tasks, health)

    code = 0
    try:
        run("agent-gateway", settings, start_workers)
    except* WorkerCannotStart as failures:
        code = workers.exit_code
        log.critical("the process ends", error=str(failures.exceptions[0]))
    sys.exit(code)


def main() -> None:
    """Run the gateway: one process, or the parent of several, or one of those."""
    settings = load_or_exit(Settings)
    if settings.is_parent:
        _run_workers(settings)
        return
    if settings.worker:
        end_with_parent()
        structlog.contextvars.bind_contextvars(worker=settings.worker)
        settings = settings.model_copy(update={"health_port": settings.health_port_of(settings.worker)})
    _allow_many_connections()
    keep_freed_memory()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def start_gateway(tasks: asyncio.TaskGroup, health: Health) -> None:
        await start(settings, tasks, health)

    run("agent-gateway", settings, start_gateway)


if __name__ == "__main__":
    main()
