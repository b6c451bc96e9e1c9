"""`python -m analytics reporter` or `python -m analytics collector`: read settings, open connections, run."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial

from flotilla_common.bus.connection import connect
from flotilla_common.clock import utc_now
from flotilla_common.db import engine as db
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.http.health import Health, serve
from flotilla_common.service import live_with, run
from flotilla_common.settings import load_or_exit

from analytics.app import create_collector, start_reporter
from analytics.collector_client import CollectorClient
from analytics.deps import CollectorDeps, ReporterDeps
from analytics.settings import CollectorSettings, ReporterSettings


async def reporter(settings: ReporterSettings, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Open the reporter's connections and start it."""
    engine = db.create_engine(settings)
    await verify_schema(engine)
    bus = await connect(settings)
    live_with(bus, tasks, health)
    health.ready_checks["database"] = partial(db.check, engine)
    collector = CollectorClient(settings.collector_url) if settings.collector_url else None
    await start_reporter(tasks, bus, ReporterDeps(db.session_maker(engine), collector, utc_now))


async def collector(settings: CollectorSettings, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Open the collector's connections and serve. It has no use for the bus."""
    engine = db.create_engine(settings)
    await verify_schema(engine)
    health.ready_checks["database"] = partial(db.check, engine)
    app = create_collector(CollectorDeps(db.session_maker(engine)))
    tasks.create_task(serve(app, settings.listen_host, settings.listen_port), name="serve")


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(prog="analytics")
    parser.add_argument("part", choices=("reporter", "collector"))
    if parser.parse_args().part == "reporter":
        reporter_settings = load_or_exit(ReporterSettings)
        run("analytics-reporter", reporter_settings, partial(reporter, reporter_settings))
    else:
        collector_settings = load_or_exit(CollectorSettings)
        run("analytics-collector", collector_settings, partial(collector, collector_settings))


if __name__ == "__main__":
    main()
