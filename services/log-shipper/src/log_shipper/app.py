"""Put the parts together."""

from __future__ import annotations

import asyncio
from typing import Any

from flotilla_common.bus.answering import Responder, respond
from flotilla_common.bus.consumer import Subscription, consume

from log_shipper import metrics
from log_shipper.consumers import (
    answer_dead_letters,
    answer_destinations,
    answer_replays,
    on_host_changed,
    on_query_changed,
)
from log_shipper.consumers.answer_ledger import RESPONDER
from log_shipper.consumers.count_host_losses import count_host_losses
from log_shipper.consumers.count_received import count_received
from log_shipper.consumers.keep_reports import keep_reports
from log_shipper.consumers.manage import Manager
from log_shipper.consumers.purge import purge
from log_shipper.consumers.sweep_dead import sweep_dead
from log_shipper.deps import Deps
from log_shipper.domain.spilling import Keeping
from log_shipper.threads import make_room_for_work


async def start(tasks: asyncio.TaskGroup, deps: Deps, manager: Manager, keeping: Keeping) -> None:
    """Start all work in the group; return when declared destinations are known and requests are answered."""
    make_room_for_work()
    await manager.look()
    tasks.create_task(manager.run(), name="destinations")
    tasks.create_task(count_received(deps), name="count received")
    tasks.create_task(keep_reports(deps), name="query reports")
    tasks.create_task(count_host_losses(deps), name="count host losses")
    tasks.create_task(purge(deps, keeping), name="purge")
    tasks.create_task(sweep_dead(deps), name="sweep dead letters")
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
    subscriptions: tuple[Subscription[Any, Deps], ...] = (
        *on_query_changed.SUBSCRIPTIONS,
        *on_host_changed.SUBSCRIPTIONS,
    )
    for subscription in subscriptions:
        ready = asyncio.Event()
        tasks.create_task(consume(deps.bus, subscription, deps, ready=ready), name=subscription.durable)
        await ready.wait()
