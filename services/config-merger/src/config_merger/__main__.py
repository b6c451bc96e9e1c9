"""`python -m config_merger`: read the settings and run."""

from __future__ import annotations

import asyncio

from flotilla_common.http.health import Health
from flotilla_common.service import run
from flotilla_common.settings import load_or_exit

from config_merger.app import start
from config_merger.settings import Settings


def main() -> None:
    """Run until told to stop."""
    settings = load_or_exit(Settings)

    async def begin(tasks: asyncio.TaskGroup, health: Health) -> None:
        await start(tasks, health, settings)

    run("config-merger", settings, begin)


if __name__ == "__main__":
    main()
