"""StartCampaignV1: start a live query."""

from __future__ import annotations

import secrets

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.campaigns import CampaignStartedV1, StartCampaignV1
from opentelemetry import trace

from live_query import metrics
from live_query.consumers.announcements import announce_or_leave, tell_or_leave, withdraw_if_over
from live_query.deps import Deps
from live_query.domain.campaigns import Draft, Trace, draft_campaign, enter
from live_query.domain.openings import begin, finish, is_told_first, started_before

tracer = trace.get_tracer(__name__)


async def answer(request: StartCampaignV1, deps: Deps) -> CampaignStartedV1:
    """Start it and tell the gateways. A repeat starts nothing when the request has an id, else another campaign."""
    async with deps.sessions.begin() as session:
        before = await started_before(session, request)
        if before is None:
            draft = await draft_campaign(
                session, request, current=current_trace(), key=deps.signing_key, now=deps.clock()
            )
            await (begin(session, draft) if is_told_first(draft) else enter(session, draft))
    if before is not None:
        await announce_or_leave(deps, before.campaign_id)
        return before
    # After the commit: a host must not be asked for what a rollback would take back.
    with tracer.start_as_current_span("tell gateways"):
        await _tell_and_finish(draft, deps)
    metrics.STARTED.labels(request.kind).inc()
    return CampaignStartedV1(campaign_id=draft.command.campaign_id, created_at=draft.created_at, counts=draft.counts)


async def _tell_and_finish(draft: Draft, deps: Deps) -> None:
    campaign_id = draft.command.campaign_id
    if draft.command.targets_hash:  # the object with the targets comes before the command
        await announce_or_leave(deps, campaign_id)
        return
    is_opening = is_told_first(draft)
    is_told = await tell_or_leave(deps, campaign_id, draft.signed, is_open=not is_opening)
    if is_opening:
        async with deps.sessions.begin() as session:
            is_first = bool(await finish(session, [campaign_id]))
        if is_told and not is_first:
            await withdraw_if_over(deps, campaign_id)
        if not is_told:
            await announce_or_leave(deps, campaign_id)


def current_trace() -> Trace:
    """Return the trace and span of this request, or fresh ones: the trace goes to the hosts in the query's name.

    A trace that nobody records has no span to go on from.
    """
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return Trace(secrets.token_hex(16), secrets.token_hex(8))
    return Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}" if context.trace_flags.sampled else "")


RESPONDER = Responder(StartCampaignV1, answer)
