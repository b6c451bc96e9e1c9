"""BeginCarveV1: a host wants to send a file."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.carves import BeginCarveV1, CarveBegunV1
from flotilla_common.db.models.live_query import Carve
from flotilla_common.errors import Conflict, Denied, FleetError, Invalid
from pydantic import SecretStr

from live_query import metrics
from live_query.deps import Deps
from live_query.domain.carve_sessions import session_id_of
from live_query.domain.carves import begin_carves

log = structlog.get_logger()

AT_ONCE = 128  # a fleet's carves begin at the same full minute: what waits is done together


async def answer(request: BeginCarveV1, deps: Deps) -> CarveBegunV1:
    """Idempotent: one carve per host and carve id, whose session id is always the same."""

    async def begin(requests: Sequence[BeginCarveV1]) -> list[Carve | FleetError]:
        async with deps.sessions.begin() as session:
            return await begin_carves(session, requests, deps.carve_policy, now=deps.clock())

    try:
        carve = await deps.begins.ask(request, begin)
    except (Denied, Conflict, Invalid) as refusal:  # osqueryd tells nobody why a carve failed
        metrics.CARVES_REFUSED.labels(refusal.code).inc()
        log.warning("carve refused", host_id=request.host_id, reason=refusal.code, text=str(refusal))
        raise
    metrics.CARVES_BEGUN.inc()
    return CarveBegunV1(session_id=SecretStr(session_id_of(carve, deps.signing_key)))


RESPONDER = Responder(BeginCarveV1, answer, concurrency=AT_ONCE)
