"""Put the parts together: connections, checks, and one task per thing that config-merger hears."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from flotilla_common.bus.answering import respond
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.consumer import Subscription, consume
from flotilla_common.bus.provision import verify
from flotilla_common.contracts.plans import BUCKET
from flotilla_common.db import engine as db
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.http.health import Health
from flotilla_common.service import live_with
from sqlalchemy.ext.asyncio import AsyncEngine

from config_merger.consumers import (
    answer_render_plan,
    housekeeping,
    on_agent_options_changed,
    on_app_config_changed,
    on_label_changed,
    on_query_changed,
    on_team_changed,
)
from config_merger.deps import Deps
from config_merger.settings import Settings

SUBSCRIPTIONS: tuple[Subscription[Any, Deps], ...] = (
    on_agent_options_changed.SUBSCRIPTION,
    on_app_config_changed.SUBSCRIPTION,
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
    await verify(bus, "DEFINITIONS")
    bucket = await open_bucket(bus, BUCKET)
    deps = Deps(sessions=db.session_maker(engine), bus=bus, bucket=bucket)
    health.ready_checks["database"] = lambda: db.check(engine)
    await housekeeping.start_over(deps)
    garbage = housekeeping.Garbage(
        blob_grace=timedelta(seconds=settings.blob_grace_seconds),
        class_grace=timedelta(seconds=settings.class_grace_seconds),
    )
    tasks.create_task(housekeeping.keep_house(settings.housekeeping_seconds, garbage, deps), name="housekeeping")
    await listen(tasks, deps)


async def listen(tasks: asyncio.TaskGroup, deps: Deps) -> None:
    """Start all that hears; return when everything does."""
    started: list[asyncio.Event] = []

    def ready() -> asyncio.Event:
        started.append(asyncio.Event())
        return started[-1]

    tasks.create_task(respond(deps.bus, answer_render_plan.RESPONDER, deps, ready=ready()), name="RenderPlanV1")
    for subscription in SUBSCRIPTIONS:
        tasks.create_task(consume(deps.bus, subscription, deps, ready=ready()), name=subscription.durable)
    for event in started:
        await event.wait()


async def _close_at_the_end(bus: Bus, engine: AsyncEngine) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await bus.close()
        await engine.dispose()
