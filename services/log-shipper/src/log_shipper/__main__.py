"""Read settings, open connections, run."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import uvloop
from flotilla_common.blobs import open_blobs
from flotilla_common.bus.connection import connect
from flotilla_common.bus.provision import verify
from flotilla_common.contracts.log_destinations import Destination
from flotilla_common.contracts.logs import STREAM
from flotilla_common.db import engine as db
from flotilla_common.db.schema_check import verify_schema
from flotilla_common.errors import Invalid
from flotilla_common.http.health import Health
from flotilla_common.service import live_with, run
from flotilla_common.settings import load_or_exit

from log_shipper.app import start
from log_shipper.config_file import ConfigFile
from log_shipper.consumers.manage import Declared, Manager
from log_shipper.declared import destination_of, settings_of
from log_shipper.deps import Deps
from log_shipper.domain.specs import checked
from log_shipper.settings import Settings
from log_shipper.sinks import Sink, kind_of
from log_shipper.threads import make_room_for_names


async def main(settings: Settings, declared: Declared, tasks: asyncio.TaskGroup, health: Health) -> None:
    """Open connections and start."""
    engine = db.create_engine(settings)
    await verify_schema(engine)
    bus = await connect(settings)
    live_with(bus, tasks, health)
    await verify(bus, STREAM)
    health.ready_checks["database"] = partial(db.check, engine)
    deps = Deps(
        engine,
        db.session_maker(engine),
        bus,
        open_blobs(settings),
        settings.secrets_key_bytes,
        settings.roles_by_api,
    )
    await start(tasks, deps, Manager(deps, declared, open_sink), settings.keeping)


def open_sink(spec: Destination) -> Sink:
    """Make the sink of a destination."""
    return kind_of(spec.kind).open(spec.settings)


def declared_or_exit(settings: Settings) -> Declared:
    """Read what the environment and the file name; leave with a message when it makes no sense."""
    found = {kind: destination_of(kind, load_or_exit(settings_of(kind))) for kind in settings.kinds}
    try:
        environment = {kind: checked(spec) for kind, spec in found.items()}
    except Invalid as error:
        sys.stderr.write(f"log_shipper: FLOTILLA_DESTINATIONS: {error}\n")
        raise SystemExit(2) from None
    file = None if settings.destinations_config is None else ConfigFile(settings.destinations_config, environment)
    try:
        if file is not None:
            file.look()
    except Invalid as error:
        sys.stderr.write(f"log_shipper: FLOTILLA_DESTINATIONS_CONFIG: {error}\n")
        raise SystemExit(2) from None
    declared = [*environment.values(), *(file.destinations.values() if file is not None else ())]
    for kind in {spec.kind for spec in declared}:
        kind_of(kind).claim()
    return Declared(environment, file)


if __name__ == "__main__":
    make_room_for_names()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loaded = load_or_exit(Settings)
    run("log-shipper", loaded, partial(main, loaded, declared_or_exit(loaded)))
