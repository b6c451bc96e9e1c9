"""A process that holds a lease until it is killed; it prints a word when it has it, and another when it has lost it."""

import asyncio
import sys

from flotilla_common.db import leases
from flotilla_common.errors import LeaseLost


async def main(url: str, name: str, silence_seconds: str) -> None:
    leases.SILENCE_SECONDS = float(silence_seconds)
    async with leases.hold(url, name) as lease:
        sys.stdout.write("held\n")
        sys.stdout.flush()
        try:
            while True:
                await lease.confirm()
                await asyncio.sleep(0.05)
        except LeaseLost:
            sys.stdout.write("lost\n")
        sys.stdout.flush()


asyncio.run(main(*sys.argv[1:]))
