"""log_shipper.ledger.v1: show the books."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.log_ledger import LogLedgerAnsweredV1, LogLedgerV1

from log_shipper.deps import Deps
from log_shipper.domain.ledger import read_ledger
from log_shipper.store import host_losses


async def answer(request: LogLedgerV1, deps: Deps) -> LogLedgerAnsweredV1:
    """Read the books and the headers beyond them; changes nothing."""
    found = await read_ledger(deps.sessions, deps.bus, request.since)
    async with deps.sessions.begin() as session:
        losses = await host_losses.total(session)
    return LogLedgerAnsweredV1(stream_sequence=found.stream_sequence, entries=found.entries, host_losses=losses)


RESPONDER = Responder(LogLedgerV1, answer, concurrency=2)
