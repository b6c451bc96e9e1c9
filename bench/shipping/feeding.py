"""What stands for gateways where the gateway is not measured, and for an admin."""

from __future__ import annotations

import asyncio
import time

from flotilla_common.bus.connection import Bus
from flotilla_common.bus.custody import CustodyPublisher
from flotilla_common.contracts.log_destinations import PauseDestinationV1
from flotilla_common.contracts.logs import LINES_HEADER, subject
from flotilla_common.errors import Refused

from bench.bodies import LINES
from bench.load_client import LoadFailed
from bench.shipping.lines import POSTS
from bench.shipping.place import ShippingPlace

ROOM_SECONDS = 60.0
ROOM_LOOK_SECONDS = 0.05


def pause(place: ShippingPlace, name: str, *, is_paused: bool) -> None:
    """Stop deliveries, or let them go on."""
    request = PauseDestinationV1(name=name, is_paused=is_paused)
    place.as_service("admin_api", lambda bus: bus.request(request))


async def publish(bus: Bus, bodies: list[bytes], messages: int) -> int:
    """Have the stream take the messages, as gateways do; return the last one's sequence."""
    publisher = CustodyPublisher(bus)
    await publisher.open()
    headers = {LINES_HEADER: str(POSTS * LINES)}
    last = 0
    for number in range(messages):
        last = await taken(publisher, subject("result", number % 16), bodies[number % len(bodies)], headers)
    return last


async def taken(publisher: CustodyPublisher, name: str, body: bytes, headers: dict[str, str]) -> int:
    """Publish a message; again, as hosts do, while the stream has no room."""
    deadline = time.monotonic() + ROOM_SECONDS
    while True:
        try:
            return await publisher.publish(name, body, headers)
        except Refused as error:
            if time.monotonic() > deadline:
                raise LoadFailed(f"the stream has had no room for {ROOM_SECONDS:g} s: {error}") from error
            await asyncio.sleep(ROOM_LOOK_SECONDS)  # it does not tell when there is some
