"""`python -m live_query`: read the settings and run."""

from __future__ import annotations

import asyncio

import uvloop
from flotilla_common.http.health import Health
from flotilla_common.service import run
from flotilla_common.settings import load_or_exit

from live_query.app import start
from live_query.settings import Settings


def main() -> None:
    """Run until told to stop."""
    settings = load_or_exit(Settings)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def begin(tasks: asyncio.TaskGroup, health: Health) -> None:
        await start(tasks, health, settings)

    run("live-query", settings, begin)


if __name__ == "__main__":
    main()
