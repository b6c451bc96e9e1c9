"""Put the parts together: connections, checks, and one task per thing that live-query hears or keeps."""

from __future__ import annotations

import asyncio
from typing import Any

from flotilla_common.blobs import open_blobs
from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.buckets import open_bucket
from flotilla_common.bus.connection import Bus, connect
from flotilla_common.bus.consumer import Subscription, consume
from flotilla_common.bus.objects import open_objects
from flotilla_common.bus.provision import verify
from flotilla_common.contracts.campaigns import ANSWERS_STREAM, BUCKET, STORE, CampaignOfferedV1, CampaignViewedV1
from flotilla_common.contracts.carves import STREAM as CARVES_STREAM
from flotilla_common.contracts.overruns import STREAM as OVERRUNS_STREAM
from flotilla_common.db import engine as db
from flotilla_common.db.relay import relay
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.http.health import Health
from flotilla_common.service import live_with
from sqlalchemy.ext.asyncio import AsyncEngine

from live_query.consumers import (
    answer_begin_carve,
    answer_pause_campaign,
    answer_start_campaign,
    answer_stop_campaign,
    housekeeping,
    on_app_config,
    on_campaign_answers,
    on_campaign_offered,
    on_campaign_viewed,
    on_carve_parts,
    on_host_deleted,
)
from live_query.consumers.hearing import listen as hear
from live_query.deps import Deps
from live_query.domain.answers import Limits
from live_query.domain.signing import private_key_from
from live_query.settings import Settings
from live_query.store import rows
from live_query.store.rows import ResultRows

OWNER = "live_query"
RESPONDERS: tuple[Responder[Any, Deps], ...] = (
    answer_start_campaign.RESPONDER,
    answer_stop_campaign.RESPONDER,
    answer_pause_campaign.RESPONDER,
    answer_begin_carve.RESPONDER,
)
SUBSCRIPTIONS: tuple[Subscription[Any, Deps], ...] = (
    on_app_config.SUBSCRIPTION,
    on_campaign_answers.SUBSCRIPTION,
    on_carve_parts.SUBSCRIPTION,
    on_host_deleted.SUBSCRIPTION,
)


async def start(tasks: asyncio.TaskGroup, health: Health, settings: Settings) -> None:
    """Open the connections and start everything; return when requests and answers reach this process."""
    engine = db.create_engine(settings)
    await verify_schema(engine)
    bus = await connect(settings)
    kept = ResultRows(rows.connect(settings.redis_url.get_secret_value()), settings.campaign_rows_bytes)
    tasks.create_task(_close_at_the_end(bus, engine, kept), name="connections")
    live_with(bus, tasks, health)
    await verify(bus, ANSWERS_STREAM, CARVES_STREAM, OVERRUNS_STREAM, "DEFINITIONS", "HOSTS")
    deps = Deps(
        sessions=db.session_maker(engine),
        bus=bus,
        bucket=await open_bucket(bus, BUCKET),
        objects=await open_objects(bus, STORE),
        rows=kept,
        signing_key=private_key_from(settings.signing_key.get_secret_value()),
        limits=Limits(settings.host_rows, settings.host_rows_bytes),
        blobs=open_blobs(settings),
        carve_policy=settings.carve_policy,
        archive_policy=settings.archive_policy,
    )
    health.ready_checks["database"] = lambda: db.check(engine)
    health.ready_checks["redis"] = kept.check
    tasks.create_task(relay(bus, settings, OWNER), name="outbox")
    await listen(tasks, deps, settings.database_url.get_secret_value())


async def listen(tasks: asyncio.TaskGroup, deps: Deps, database_url: str) -> None:
    """Start all that hears, and housekeeping; return when everything hears."""
    started: list[asyncio.Event] = []

    def ready() -> asyncio.Event:
        started.append(asyncio.Event())
        return started[-1]

    for responder in RESPONDERS:
        tasks.create_task(respond(deps.bus, responder, deps, ready=ready()), name=responder.request.subject)
    for subscription in SUBSCRIPTIONS:
        tasks.create_task(consume(deps.bus, subscription, deps, ready=ready()), name=subscription.durable)
    viewed = hear(CampaignViewedV1, on_campaign_viewed.handle, deps, ready=ready())
    tasks.create_task(viewed, name=CampaignViewedV1.subject)
    offered = hear(CampaignOfferedV1, on_campaign_offered.handle, deps, ready=ready())
    tasks.create_task(offered, name=CampaignOfferedV1.subject)
    for event in started:
        await event.wait()
    tasks.create_task(housekeeping.keep_house(database_url, deps), name="housekeeping")


async def _close_at_the_end(bus: Bus, engine: AsyncEngine, kept: ResultRows) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await bus.close()
        await kept.close()
        await engine.dispose()
