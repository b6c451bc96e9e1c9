"""Put the parts together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flotilla_common.bus.answering import respond

from log_shipper import metrics
from log_shipper.consumers.answer_ledger import RESPONDER
from log_shipper.consumers.count_received import count_received
from log_shipper.consumers.drain import drain
from log_shipper.consumers.purge import purge
from log_shipper.deps import Deps
from log_shipper.sinks import Sink
from log_shipper.sinks.nowhere import NowhereSink
from log_shipper.store import destinations


async def start(tasks: asyncio.TaskGroup, deps: Deps, sinks: Sequence[Sink], replay_window: float) -> None:
    """Register the destinations and start all work in the group; return when the ledger can be asked."""
    async with deps.sessions.begin() as session:
        names = await destinations.register(session, [sink.name for sink in sinks])
    wanted = {sink.name for sink in sinks}
    retired = [NowhereSink(name) for name in names if name not in wanted]
    for sink in (*sinks, *retired):
        tasks.create_task(drain(sink, deps), name=f"drain {sink.name}")
    tasks.create_task(count_received(deps), name="count received")
    tasks.create_task(purge(deps, replay_window), name="purge")
    tasks.create_task(metrics.publish(deps), name="metrics")
    ready = asyncio.Event()
    tasks.create_task(respond(deps.bus, RESPONDER, deps, ready=ready), name="answer ledger")
    await ready.wait()
