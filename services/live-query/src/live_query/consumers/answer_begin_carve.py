"""BeginCarveV1: a host wants to send a file."""

from __future__ import annotations

import structlog
from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.carves import BeginCarveV1, CarveBegunV1
from flotilla_common.errors import Conflict, Denied, Invalid
from pydantic import SecretStr

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.carve_sessions import session_id_of
from live_query.domain.carves import begin_carve

log = structlog.get_logger()


async def answer(request: BeginCarveV1, deps: Deps) -> CarveBegunV1:
    """Idempotent: one carve per host and carve id, whose session id is always the same."""
    try:
        async with deps.sessions.begin() as session:
            carve = await begin_carve(session, request, deps.carve_policy, now=deps.clock())
    except (Denied, Conflict, Invalid) as refusal:  # osqueryd tells nobody why a carve failed
        metrics.CARVES_REFUSED.labels(refusal.code).inc()
        log.warning("carve refused", host_id=request.host_id, reason=refusal.code, text=str(refusal))
        raise
    metrics.CARVES_BEGUN.inc()
    return CarveBegunV1(session_id=SecretStr(session_id_of(carve, deps.signing_key)))


RESPONDER = Responder(BeginCarveV1, answer)
