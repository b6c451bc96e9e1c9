"""StartCampaignV1: start a live query."""

from __future__ import annotations

import secrets

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.campaigns import CampaignStartedV1, StartCampaignV1
from opentelemetry import trace

from live_query import metrics
from live_query.consumers.announcements import announce_or_leave
from live_query.deps import Deps
from live_query.domain.campaigns import start_campaign, started_before


async def answer(request: StartCampaignV1, deps: Deps) -> CampaignStartedV1:
    """Start it and tell the gateways. A repeat starts nothing when the request has an id, else another campaign."""
    async with deps.sessions.begin() as session:
        before = await started_before(session, request)
        started = before or await start_campaign(
            session, request, trace_id=current_trace(), key=deps.signing_key, now=deps.clock()
        )
    if before is None:
        metrics.STARTED.labels(request.kind).inc()
    # After the commit: a host must not be asked for what a rollback would take back.
    await announce_or_leave(deps, started.campaign_id)
    return started


def current_trace() -> str:
    """Return the trace that this request belongs to, or a fresh one: it goes to the hosts in the query's name."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else secrets.token_hex(16)


RESPONDER = Responder(StartCampaignV1, answer)
