"""How full the custody streams are, asked of the server again and again: their gates shut before the streams refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats.errors
import nats.js.errors
import structlog
from flotilla_common.bus import outage
from flotilla_common.bus.connection import Bus
from flotilla_common.cancellation import heed

from agent_gateway.domain.gates import Gate

log = structlog.get_logger()

EVERY_SECONDS = 2.0
OFTEN_SECONDS = 0.25  # 95 % of a small stream are not far from 100 %
OFTEN_FROM = 0.8


async def watch_streams(bus: Bus, gates: Iterable[Gate]) -> None:
    """Measure for ever (cancel to stop). While the server does not answer the measures grow old, and shut nothing."""
    all_gates = tuple(gates)
    while True:
        for gate in all_gates:
            try:
                found = await bus.js.stream_info(gate.stream)
                gate.measured(found.state.bytes, found.config.max_bytes or 0)
            except outage.kinds(nats.js.errors.Error, nats.errors.Error) as error:
                heed()
                log.debug("stream is not measured", stream=gate.stream, error=repr(error))
        heed()
        fullest = max(gate.fullness for gate in all_gates)
        await asyncio.sleep(OFTEN_SECONDS if fullest >= OFTEN_FROM else EVERY_SECONDS)
