"""Put the parts together: connections, checks, and one task per thing that inventory hears."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.consumer import Subscription, consume
from flotilla_common.bus.provision import verify, verify_bucket
from flotilla_common.contracts.plans import BUCKET as PLANS
from flotilla_common.db import engine as db
from flotilla_common.db.relay import relay
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.http.health import Health
from flotilla_common.service import live_with
from flotilla_common.settings import key_bytes
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory import metrics
from inventory.consumers import (
    answer_change_label_members,
    answer_delete_hosts,
    answer_enroll_host,
    answer_enroll_orbit,
    answer_refetch_host,
    answer_resolve_node_keys,
    answer_resolve_orbit_keys,
    answer_set_device_token,
    answer_transfer_hosts,
    log_gaps,
    on_agent_options_changed,
    on_hosts_seen,
    on_label_changed,
    on_plans,
    on_query_changed,
    on_team_changed,
)
from inventory.deps import Deps
from inventory.domain import scoping
from inventory.domain.intervals import PlannedIntervals
from inventory.domain.seen_hosts import SeenHosts
from inventory.settings import Settings

log = structlog.get_logger()

OWNER = "inventory"
RESPONDERS: tuple[Responder[Any, Deps], ...] = (
    answer_change_label_members.RESPONDER,
    answer_delete_hosts.RESPONDER,
    answer_enroll_host.RESPONDER,
    answer_enroll_orbit.RESPONDER,
    answer_refetch_host.RESPONDER,
    answer_resolve_node_keys.RESPONDER,
    answer_resolve_orbit_keys.RESPONDER,
    answer_set_device_token.RESPONDER,
    answer_transfer_hosts.RESPONDER,
)
SUBSCRIPTIONS: tuple[Subscription[Any, Deps], ...] = (
    on_agent_options_changed.SUBSCRIPTION,
    on_label_changed.SUBSCRIPTION,
    on_query_changed.SUBSCRIPTION,
    on_team_changed.SUBSCRIPTION,
)


async def start(tasks: asyncio.TaskGroup, health: Health, settings: Settings) -> None:
    """Open the connections and start everything; return when requests reach this process."""
    engine = db.create_engine(settings)
    await verify_schema(engine)
    bus = await connect(settings)
    tasks.create_task(_close_at_the_end(bus, engine), name="connections")
    live_with(bus, tasks, health)
    await verify(bus, "HOSTS", "DEVICE_TOKENS", "DEFINITIONS")
    await verify_bucket(bus, PLANS)
    deps = Deps(
        sessions=db.session_maker(engine),
        bus=bus,
        secrets_key=key_bytes(settings.secrets_key),
        same_identity=settings.same_identity,
        host_identifier=settings.host_identifier,
        enroll_cooldown=timedelta(seconds=settings.enroll_cooldown_seconds),
    )
    health.ready_checks["database"] = lambda: db.check(engine)
    async with deps.sessions.begin() as session:
        await scoping.recompute(session)
    tasks.create_task(relay(bus, settings, OWNER), name="outbox")
    tasks.create_task(_sweep(settings.sweep_seconds, deps), name="sweep")
    longest = timedelta(hours=settings.log_gap_hours)
    tasks.create_task(log_gaps.count_every(settings.sweep_seconds, longest, deps), name="log gaps")
    await listen(tasks, deps, seen_flush_seconds=settings.seen_flush_seconds, sweep_seconds=settings.sweep_seconds)


async def listen(
    tasks: asyncio.TaskGroup, deps: Deps, *, seen_flush_seconds: float, sweep_seconds: float = 60.0
) -> None:
    """Start all that hears; return when everything does."""
    started: list[asyncio.Event] = []

    def ready() -> asyncio.Event:
        started.append(asyncio.Event())
        return started[-1]

    for responder in RESPONDERS:
        tasks.create_task(respond(deps.bus, responder, deps, ready=ready()), name=responder.request.subject)
    for subscription in SUBSCRIPTIONS:
        tasks.create_task(consume(deps.bus, subscription, deps, ready=ready()), name=subscription.durable)
    seen, logged = SeenHosts(), SeenHosts()
    tasks.create_task(on_hosts_seen.collect(seen, logged, deps, ready=ready()), name="hosts.seen")
    tasks.create_task(on_hosts_seen.write_every(seen_flush_seconds, seen, logged, deps), name="hosts.seen writer")
    planned = PlannedIntervals()
    tasks.create_task(on_plans.plans_follower(deps.bus, planned).run(), name="plans")
    tasks.create_task(on_plans.write_changes(sweep_seconds, planned, deps), name="plans writer")
    for event in started:
        await event.wait()


async def _sweep(seconds: float, deps: Deps) -> None:
    """Look for hosts of teams that are gone: an enroll can commit just after the team's event was handled.

    Also forget what was noted about secrets that are gone, and about machines that shared an identity long ago.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            metrics.LOST_TEAM_HOSTS.inc(await on_team_changed.empty_lost_teams(deps))
            await answer_enroll_host.forget(deps)
        except outage.kinds() as error:
            log.warning("sweep waits", error=repr(error))


async def _close_at_the_end(bus: Bus, engine: AsyncEngine) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await bus.close()
        await engine.dispose()
