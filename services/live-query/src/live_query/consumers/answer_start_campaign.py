"""StartCampaignV1: start a live query."""

from __future__ import annotations

import secrets

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.campaigns import CampaignStartedV1, StartCampaignV1
from opentelemetry import trace

from live_query import metrics
from live_query.consumers.announcements import announce_or_leave
from live_query.deps import Deps
from live_query.domain.campaigns import Trace, start_campaign, started_before

tracer = trace.get_tracer(__name__)


async def answer(request: StartCampaignV1, deps: Deps) -> CampaignStartedV1:
    """Start it and tell the gateways. A repeat starts nothing when the request has an id, else another campaign."""
    async with deps.sessions.begin() as session:
        before = await started_before(session, request)
        started = before or await start_campaign(
            session, request, current=current_trace(), key=deps.signing_key, now=deps.clock()
        )
    if before is None:
        metrics.STARTED.labels(request.kind).inc()
    # After the commit: a host must not be asked for what a rollback would take back.
    with tracer.start_as_current_span("tell gateways"):
        await announce_or_leave(deps, started.campaign_id)
    return started


def current_trace() -> Trace:
    """Return the trace and span of this request, or fresh ones: the trace goes to the hosts in the query's name.

    A trace that nobody records has no span to go on from.
    """
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return Trace(secrets.token_hex(16), secrets.token_hex(8))
    return Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}" if context.trace_flags.sampled else "")


RESPONDER = Responder(StartCampaignV1, answer)
