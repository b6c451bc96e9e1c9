"""Read settings, open connections, run."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from flotilla_common import service
from flotilla_common.blobs import open_blobs
from flotilla_common.bus import connection, provision
from flotilla_common.bus.consumer import Subscription, consume
from flotilla_common.clock import utc_now
from flotilla_common.db import engine as db
from flotilla_common.db.relay import relay
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.http.health import Health, serve
from flotilla_common.settings import key_bytes, load_or_exit
from redis.asyncio import Redis

from admin_api.app import create_app
from admin_api.consumers import on_campaign_over_budget, on_enroll_refused, on_host_enrolled, on_host_identity_shared
from admin_api.deps import Deps
from admin_api.domain.passwords import Passwords
from admin_api.domain.sql_reader import SqlReader
from admin_api.routes.campaign_sockets import SEND_SECONDS, SERVER_OPTIONS, UNSENT_BYTES
from admin_api.settings import Settings

SUBSCRIPTIONS: tuple[Subscription[Any, Deps], ...] = (
    on_host_enrolled.SUBSCRIPTION,
    on_enroll_refused.SUBSCRIPTION,
    on_host_identity_shared.SUBSCRIPTION,
    on_campaign_over_budget.SUBSCRIPTION,
)
REQUESTS_AT_ONCE = 100  # connections to Redis beside those of viewers


async def start(settings: Settings, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Open connections and start serving."""
    engine = db.create_engine(settings)
    await verify_schema(engine)
    bus = await connection.connect(settings)
    service.live_with(bus, tasks, health)
    redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=3,
        socket_connect_timeout=3,
        max_connections=settings.most_viewers + REQUESTS_AT_ONCE,
    )
    health.ready_checks["postgres"] = lambda: db.check(engine)
    deps = Deps(
        sessions=db.session_maker(engine),
        bus=bus,
        redis=redis,
        clock=utc_now,
        settings=settings,
        secrets_key=key_bytes(settings.secrets_key),
        passwords=Passwords(),
        blobs=open_blobs(settings),
        sql_reader=SqlReader(),
    )
    await provision.verify(bus, "DEFINITIONS", "HOSTS", "OVERRUNS")
    tasks.create_task(relay(bus, settings, "admin_api"), name="outbox relay")
    for subscription in SUBSCRIPTIONS:
        tasks.create_task(consume(bus, subscription, deps), name=subscription.durable)
    where = (settings.listen_host, settings.listen_port)
    serving = serve(create_app(deps), *where, stuck_seconds=SEND_SECONDS, unsent_bytes=UNSENT_BYTES, **SERVER_OPTIONS)
    tasks.create_task(serving, name="http")


def main() -> None:
    """Run until told to stop."""
    settings = load_or_exit(Settings)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # the whole process's: uvicorn starts none of its own here
    service.run("admin-api", settings, lambda tasks, health: start(settings, tasks, health))


if __name__ == "__main__":
    main()
