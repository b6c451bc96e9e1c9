"""Read settings, open connections, run."""

from __future__ import annotations

import asyncio
from functools import partial

from flotilla_common.bus.connection import connect
from flotilla_common.bus.provision import verify
from flotilla_common.contracts.logs import STREAM
from flotilla_common.db import engine as db
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.http.health import Health
from flotilla_common.service import live_with, run
from flotilla_common.settings import load_or_exit

from log_shipper.app import start
from log_shipper.deps import Deps
from log_shipper.settings import Settings
from log_shipper.sinks import open_sink


async def main(settings: Settings, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Open connections and start."""
    sinks = [open_sink(kind) for kind in settings.kinds]
    engine = db.create_engine(settings)
    await verify_schema(engine)
    bus = await connect(settings)
    live_with(bus, tasks, health)
    await verify(bus, STREAM)
    health.ready_checks["database"] = partial(db.check, engine)
    await start(tasks, Deps(engine, db.session_maker(engine), bus), sinks, settings.replay_window)


if __name__ == "__main__":
    loaded = load_or_exit(Settings)
    run("log-shipper", loaded, partial(main, loaded))
