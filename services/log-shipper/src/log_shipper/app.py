"""Put the parts together."""

from __future__ import annotations

import asyncio
from typing import Any

from flotilla_common.bus.answering import Responder, respond

from log_shipper import metrics
from log_shipper.consumers import answer_dead_letters, answer_destinations, answer_replays
from log_shipper.consumers.answer_ledger import RESPONDER
from log_shipper.consumers.count_host_losses import count_host_losses
from log_shipper.consumers.count_received import count_received
from log_shipper.consumers.manage import Manager
from log_shipper.consumers.purge import purge
from log_shipper.deps import Deps
from log_shipper.domain.spilling import Keeping


async def start(tasks: asyncio.TaskGroup, deps: Deps, manager: Manager, keeping: Keeping) -> None:
    """Start all work in the group; return when declared destinations are known and requests are answered."""
    await manager.look()
    tasks.create_task(manager.run(), name="destinations")
    tasks.create_task(count_received(deps), name="count received")
    tasks.create_task(count_host_losses(deps), name="count host losses")
    tasks.create_task(purge(deps, keeping), name="purge")
    tasks.create_task(metrics.publish(deps), name="metrics")
    responders: tuple[Responder[Any, Deps], ...] = (
        RESPONDER,
        *answer_destinations.RESPONDERS,
        *answer_dead_letters.RESPONDERS,
        *answer_replays.RESPONDERS,
    )
    for responder in responders:
        ready = asyncio.Event()
        tasks.create_task(respond(deps.bus, responder, deps, ready=ready), name=responder.request.subject)
        await ready.wait()
