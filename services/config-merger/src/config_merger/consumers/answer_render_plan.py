"""RenderPlanV1: compile the plan of a class that no host had before."""

from __future__ import annotations

from flotilla_common.bus.answering import Responder
from flotilla_common.contracts.plans import PlanHead, RenderPlanV1

from config_merger import metrics
from config_merger.deps import Deps
from config_merger.domain.compilation import head_of, plan_of
from config_merger.domain.layers import class_of
from config_merger.errors import UnknownTeam
from config_merger.store import plan_heads, plans


async def answer(request: RenderPlanV1, deps: Deps) -> PlanHead:
    """Answer once the head is in the bucket. A repeat finds the plan, and puts back what the bucket has lost."""
    host_class = class_of(request)
    async with deps.sessions.begin() as session:
        key = await plan_of(session, host_class, now=deps.clock())
    async with deps.sessions.begin() as session:
        plan = await plans.get(session, key)
    if plan is None:
        raise UnknownTeam(f"team {host_class.team_id} has just been deleted")
    if await plan_heads.announce(deps.bucket, head_of(plan), plan.config, plan.orbit):
        metrics.HEADS_ANNOUNCED.inc()
    async with deps.sessions.begin() as session:
        await plans.mark_announced(session, key, plan.revision)
    return head_of(plan)


RESPONDER = Responder(RenderPlanV1, answer)
